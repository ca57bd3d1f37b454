// The frames of a video that the server sampled.

import { counted, element, grouped } from "./elements.js";

const WIDTH = 112; // pixels of a frame as it is shown
const PATIENCE = 4000; // ms for a frame: browsers do not play every video that the server reads

/** A figure of the sampled frames: drawn from the file, or their times alone where this browser cannot show them. */
export async function sampledFrames(medium, { sampled, tokens }) {
  const { times, frames, duration } = sampled;
  const text = `${counted(times.length, "frame")} of ${grouped(duration)} s that the model saw (${counted(tokens, "token")})`;
  const list = element("ol", { className: "frames" });
  const figure = element("figure", {}, element("figcaption", { className: "faint", textContent: text }), list);
  const items = times.map((time, index) => element("li", {},
    element("span", { className: "faint", textContent: `${grouped(time)} s`, title: `frame ${frames[index]}` })));
  list.append(...items);
  if (medium?.preview) draw(medium.preview, times, items, 1 / Math.max(1, sampled.fps)).catch(() => {});
  return figure;
}

async function draw(source, times, items, frameSeconds) {
  const video = element("video", { src: source, muted: true, preload: "auto" });
  await happened(video, "loadeddata");
  for (const [index, time] of times.entries()) {
    const seeked = happened(video, "seeked");
    video.currentTime = Math.min(time + frameSeconds / 2, video.duration); // amid the frame, not at its border
    await seeked;
    const height = Math.round((WIDTH * video.videoHeight) / video.videoWidth);
    const canvas = element("canvas", { width: WIDTH, height, role: "img", "aria-label": `Frame at ${grouped(time)} s` });
    canvas.getContext("2d").drawImage(video, 0, 0, WIDTH, height);
    items[index].prepend(canvas);
  }
}

function happened(video, event) {
  return new Promise((resolve, reject) => {
    video.addEventListener(event, resolve, { once: true });
    video.addEventListener("error", reject, { once: true });
    setTimeout(reject, PATIENCE, new Error(`no ${event}`));
  });
}
