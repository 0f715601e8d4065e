// What ipywidgets cannot say about itself: texts to read take the focus (read-only, not disabled), and two live regions speak status and answers.
(() => {
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
  new MutationObserver(mend).observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["disabled"]});
  mend();
})();
