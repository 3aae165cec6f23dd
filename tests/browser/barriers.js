// Asks axe-core, which is loaded before this file, what keeps people out of the page. Returns lines of text.
window.barriers = (() => {
  // Contrast takes axe seconds on a page of thousands of elements, of which few look different. So that it is told one element
  // of each look: colour, size, weight, underline, the text around it, and every ground and opacity that lies beneath.
  function oneOfEach() {
    const grounds = new Map([[null, ""]]), found = new Map();
    const ground = (e) => {
      if (!grounds.has(e)) {
        const { backgroundColor, backgroundImage, opacity } = getComputedStyle(e);
        const own = [backgroundColor, backgroundImage, opacity].filter((x) => !["rgba(0, 0, 0, 0)", "none", "1"].includes(x));
        grounds.set(e, own.reduce((all, x) => `${all}/${x}`, ground(e.parentElement)));
      }
      return grounds.get(e);
    };
    for (const e of document.body.querySelectorAll("*")) {
      const speaks = e.matches("input, select, textarea") || [...e.childNodes].some((x) => x.nodeType === 3 && x.data.trim());
      if (!speaks || !e.checkVisibility()) continue;
      const s = getComputedStyle(e), around = e.matches("a") ? getComputedStyle(e.parentElement).color : "";
      const look = [ground(e), s.color, s.fontSize, s.fontWeight, s.textDecorationLine, s.textShadow, around].join();
      if (!found.has(look)) found.set(look, e);
    }
    return [...found.values()];
  }

  const COLOURS = ["color-contrast", "link-in-text-block"];
  const off = (names) => Object.fromEntries(names.map((name) => [name, { enabled: false }]));
  async function ask(where, options) {
    const { violations } = await axe.run(where, { resultTypes: ["violations"], preload: false, ...options });
    const told = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    return told.flatMap(({ id, impact, nodes }) => nodes.map((node) =>
      `${impact} ${id}: ${node.target.join(" ")}: ${node.failureSummary.split("\n").at(-1).trim()}`));
  }
  return {
    structure: () => ask(document, { rules: off([...COLOURS, "region"]) }), // "region" is slow, and moderate at worst
    colours: () => ask({ include: oneOfEach() }, { runOnly: COLOURS }),
    scrolling: () => ask(document, { runOnly: ["scrollable-region-focusable"] }),
  };
})();
