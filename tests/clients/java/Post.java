import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.concurrent.CompletableFuture;

/**
 * Posts the files that the command line names after the URL, one after the other and then all at once, with the JDK's
 * client as it is by default: it offers an upgrade to HTTP/2.
 *
 * Prints the JDK's version, and a line for each answer: its status, the version of HTTP, and its body.
 */
public final class Post {
    private Post() {}

    public static void main(String[] arguments) throws IOException, InterruptedException {
        System.out.println(System.getProperty("java.version"));
        HttpClient client = HttpClient.newHttpClient();
        for (int index = 1; index < arguments.length; index++) {
            HttpRequest request = request(arguments[0], arguments[index]);
            print(client.send(request, HttpResponse.BodyHandlers.ofString()));
        }
        var answers = new ArrayList<CompletableFuture<HttpResponse<String>>>();
        for (int index = 1; index < arguments.length; index++) {
            HttpRequest request = request(arguments[0], arguments[index]);
            answers.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofString()));
        }
        for (var answer : answers) {
            print(answer.join());
        }
    }

    private static HttpRequest request(String url, String file) throws IOException {
        return HttpRequest.newBuilder(URI.create(url))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofFile(Path.of(file)))
                .build();
    }

    private static void print(HttpResponse<String> answer) {
        System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body().replace("\n", " "));
    }
}
