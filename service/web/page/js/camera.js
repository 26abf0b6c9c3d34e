/** Takes a photograph with the camera, where there is one and the browser allows it. */

import { el } from "./dom.js";

/** Whether a camera can be used: browsers offer it to secure origins only, loopback included. */
export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Show the camera and wait for a photograph.
 * @returns {Promise<File|null>} null if none was taken; the dialog has shown why.
 */
export function photograph() {
  const video = el("video", { muted: true, playsinline: true, "aria-label": "What the camera sees" });
  const trouble = el("p", { class: "trouble", role: "alert", hidden: true });
  const take = el("button", { class: "button is-main", type: "button", text: "Take the picture", disabled: true });
  const leave = el("button", { class: "button", type: "button", text: "Cancel", on: { click: () => dialog.close() } });
  const dialog = el(
    "dialog",
    { "aria-label": "Camera" },
    el("h2", { text: "Camera" }),
    video,
    trouble,
    el("div", { class: "buttons" }, leave, take),
  );
  video.muted = true;
  document.body.append(dialog);
  dialog.showModal();

  return new Promise((resolve) => {
    let stream = null;
    let photo = null;
    dialog.addEventListener("close", () => {
      stream?.getTracks().forEach((track) => track.stop());
      dialog.remove();
      resolve(photo);
    });
    take.addEventListener("click", async () => {
      photo = await frame(video);
      dialog.close();
    });
    navigator.mediaDevices
      .getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } })
      .then(async (opened) => {
        stream = opened;
        if (!dialog.open) return stream.getTracks().forEach((track) => track.stop());
        video.srcObject = stream;
        await video.play();
        take.disabled = false;
        take.focus();
      })
      .catch((error) => {
        video.hidden = true;
        trouble.hidden = false;
        trouble.textContent =
          error.name === "NotAllowedError"
            ? "The browser does not allow this page to use the camera."
            : `The camera cannot be used: ${error.message}`;
      });
  });
}

/** Return the central square of the video's current frame as a JPEG file. */
async function frame(video) {
  const side = Math.min(video.videoWidth, video.videoHeight);
  const canvas = el("canvas", { width: side, height: side });
  canvas
    .getContext("2d")
    .drawImage(video, (video.videoWidth - side) / 2, (video.videoHeight - side) / 2, side, side, 0, 0, side, side);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return new File([blob], `photograph ${new Date().toLocaleTimeString("en-GB")}.jpg`, { type: "image/jpeg" });
}
