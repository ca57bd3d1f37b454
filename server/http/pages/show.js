// Shows the OpenAPI document on the page that this script is part of.
if (document.getElementById("redoc")) {
  Redoc.init("openapi.json", {}, document.getElementById("redoc"));
} else {
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
    validatorUrl: null,
  });
}
