// Brings the explorers of a built page to life without Jupyter: reads the widgets' state that the page carries, and
// calls each anywidget's own `render`. A classic script, and modules from blobs, since pages are opened from disk, too,
// where browsers refuse to load module files.
(() => {
  const STATE = "application/vnd.jupyter.widget-state+json";
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const parsed = (script) => {
    const once = JSON.parse(script.textContent);
    return typeof once === "string" ? JSON.parse(once) : once;
  };

  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

  /** What anywidget calls a model: values by name. Nobody but the explorer changes them, so nobody need listen. */
  function standIn({ state, buffers = [] }) {
    const values = { ...state };
    for (const { path, data } of buffers) values[path[0]] = bytes(data);
    return {
      get: (name) => values[name],
      set: (name, value) => void (values[name] = value),
      save_changes: () => {},
      on: () => {},
      off: () => {},
    };
  }

  async function bringToLife(view, widget) {
    const el = document.createElement("div");
    view.after(el);
    try {
      const { _esm: code, _css: css } = widget.state;
      if (css && !document.getElementById(`css-of-${widget.state._anywidget_id}`)) {
        const style = document.createElement("style");
        style.id = `css-of-${widget.state._anywidget_id}`;
        style.textContent = css;
        document.head.append(style);
      }
      const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
      const { default: explorer } = await import(address);
      URL.revokeObjectURL(address);
      await explorer.render({ model: standIn(widget), el, page: true });
    } catch (error) {
      el.textContent = `This explorer could not be started (${error.message}). The figures around it do not need it.`;
      console.error(error);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const states = document.querySelector(`script[type="${STATE}"]`);
    if (!states) return;
    const widgets = parsed(states).state;
    for (const view of document.querySelectorAll(`script[type="${VIEW}"]`)) {
      const widget = widgets[parsed(view).model_id];
      if (widget?.model_module === "anywidget") void bringToLife(view, widget);
    }
  });
})();
