/** The pictures that a person has given to the page, which all sections share. */

/** How many are kept. */
export const MOST = 200;

/** @typedef {{id: number, name: string, blob: Blob, url: string}} Picture `name` is text from outside; `url` shows it as it is. */

class Pictures extends EventTarget {
  /** @type {Picture[]} newest first */
  all = [];
  /** @type {Picture|null} the one that is compared and looked into */
  chosen = null;
  #last = 0;

  /** Take in files; the first of them is chosen, and what is over `MOST` goes, the oldest first. Fires "change". */
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
