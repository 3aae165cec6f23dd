// Lets the keyboard reach whatever scrolls inside itself, as book.css has wide tables and formulas do. The theme cares for
// some code blocks only, and only some browsers do it themselves.
document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector(".bd-article");
  if (!article) return;
  const may = "pre, table, div.highlight, div.cell_output, div.math, mjx-container[display=true]";
  const reach = () => {
    for (const box of article.querySelectorAll(may)) {
      if (box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "visible") box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  new ResizeObserver(reach).observe(article); // it grows when formulas are set or something is unfolded, and with the window
});

// The theme's buttons call these from attributes, which the pages' security policy forbids.
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".btn-fullscreen-button")) button.addEventListener("click", () => toggleFullScreen());
  for (const button of document.querySelectorAll(".btn-download-pdf-button")) button.addEventListener("click", () => print());
});
