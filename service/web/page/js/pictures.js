/** The pictures given to the page, shared by all sections. */

/** Pictures that are kept. */
export const MOST = 200;

/** @typedef {{id: number, name: string, blob: Blob, url: string}} Picture `name` is untrusted text; `url` shows the original. */

class Pictures extends EventTarget {
  /** @type {Picture[]} newest first */
  all = [];
  /** @type {Picture|null} shown in the sections Compare and Look inside */
  chosen = null;
  #last = 0;

  /** Add files and choose the first; beyond `MOST` the oldest pictures are removed. Fires "change". */
  add(files) {
    const added = files.map((file) => ({
      id: ++this.#last,
      name: file.name || "picture",
      blob: file,
      url: URL.createObjectURL(file),
    }));
    if (!added.length) return;
    this.all = [...added, ...this.all];
    this.all.splice(MOST).forEach((picture) => URL.revokeObjectURL(picture.url));
    this.choose(added[0]);
  }

  remove(picture) {
    const place = this.all.indexOf(picture);
    this.all.splice(place, 1);
    URL.revokeObjectURL(picture.url);
    this.choose(this.chosen === picture ? (this.all[place] ?? this.all[place - 1] ?? null) : this.chosen);
  }

  clear() {
    this.all.forEach((picture) => URL.revokeObjectURL(picture.url));
    this.all = [];
    this.choose(null);
  }

  choose(picture) {
    this.chosen = picture;
    this.dispatchEvent(new Event("change"));
  }
}

export const pictures = new Pictures();
