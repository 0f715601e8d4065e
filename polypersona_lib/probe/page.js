// What ipywidgets cannot say about itself: texts to read take the focus (read-only, not disabled), and two live regions speak status and answers.
// A file that is too large is refused before it is sent: the connection to the kernel would break.
(() => {
  const most = 5 * 2 ** 20; // own_files.MOST_UPLOAD
  const mend = () => {
    for (const box of document.querySelectorAll(".pp textarea:disabled")) {
      box.readOnly = true;
      box.disabled = false;
      box.tabIndex = box.closest(".pp-cells") ? -1 : 0;
    }
    for (const region of document.querySelectorAll(".pp-live .widget-html-content:not([role])")) {
      region.setAttribute("role", "status");
      region.setAttribute("aria-live", "polite");
    }
  };
  document.addEventListener("change", (event) => {
    const input = event.target;
    const large = input.type === "file" && [...input.files].find((file) => file.size > most);
    if (!large || !input.closest(".pp")) return;
    event.stopImmediatePropagation();
    input.value = "";
    const bars = input.closest(".pp-section").querySelectorAll(".pp-status textarea");
    const says = `Not done. A file of ${(large.size / 2 ** 20).toFixed(1)} MB, and the page takes 5 MB; larger files go through python -m polypersona_lib ask`;
    for (const box of bars) box.value = says;
    const region = document.querySelector(".pp-live .widget-html-content");
    if (region) region.textContent = says;
  }, true);
  new MutationObserver(mend).observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["disabled"]});
  mend();
})();
