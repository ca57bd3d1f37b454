// Media that the user has chosen: a file, or the address of one.

let count = 0;

export class Medium {
  /** blob: the content, or null. address: the URL that the server fetches, or null. source: from where an example is. */
  constructor({ name, blob = null, address = null, source = null }) {
    count += 1;
    Object.assign(this, { id: count, name, blob, address, source });
    this.preview = blob && URL.createObjectURL(blob); // for this page's life: a turn goes on showing it
  }

  /** The URL for a request: a data URL of the content, or the address. */
  url() {
    this.reading ??= this.address === null ? dataUrl(this.blob) : Promise.resolve(this.address);
    return this.reading;
  }
}

/** True if a file is a video, by its type or, without one, by its name. */
export function isVideo(file) {
  return file.type ? file.type.startsWith("video/") : /\.(mp4|m4v|mov|webm|mkv|avi)$/i.test(file.name);
}

/** A file's name without its folder and its ending. */
export function stem(name) {
  return name.replace(/^.*[\\/]/, "").replace(/\.[^.]*$/, "");
}

/** The medium of a file that lies beside this page. */
export async function fetched(path) {
  const response = await fetch(path);
  if (!response.ok) throw new TypeError(`${path}: ${response.status}`);
  return new Medium({ name: path.replace(/^.*\//, ""), blob: await response.blob(), source: response.url });
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${blob.name} cannot be read any more: add it again`));
    reader.readAsDataURL(blob);
  });
}
