// Looped heads on a sequence to edit: where the chosen token looks in each loop, what its state becomes, and what it answers.

export default {
  render({ model, el, page }) {
    const letters = [...model.get("letters")], size = letters.length, loops = model.get("loops"), sequences = model.get("sequences");
    const fewest = model.get("fewest"), most = model.get("most"), theta = new Float64Array(bytesOf(model, "parameters"));
    const models = {}, state = { ...model.get("selected") };
    let start = 0;
    for (const { name, loops: own, ...config } of model.get("models")) {
      const end = start + config.shapes.reduce((sum, [, rows, columns]) => sum + rows * columns, 0);
      models[name] = { own, causal: config.causal, computed: new LoopedModel(config, theta.subarray(start, end)) };
      start = end;
    }
    const length = () => [...state.text].length, edited = () => state.text !== sequences[state.sequence - 1];
    if (page) {
      const found = fromAddress(model.get("name")), number = (key, low, high) =>
        (/^\d{1,4}$/.test(found[key]) && found[key] >= low && found[key] <= high ? Number(found[key]) : null);
      if (Object.keys(models).includes(found.model)) state.model = found.model;
      state.sequence = number("sequence", 1, sequences.length) ?? state.sequence;
      state.text = [found.text ?? "", sequences[state.sequence - 1]].find((text) => !mistake(text)); // links of old have none
      state.loop = number("loop", 0, loops) ?? state.loop;
      state.token = number("token", 1, length()) ?? Math.min(state.token, length());
    }
    const choose = selector({ model, page }, state, refresh);
    const select = (change) => ((note = ""), choose(change));

    // ---- what is chosen, and what the model makes of it -------------------------------------------------------------
    let note = "", now = {}; // what is wrong with an edit; and all that follows from the state
    function compute() {
      const key = `${state.model}:${state.text}`, symbols = [...state.text], at = state.token - 1, { computed, ...chosen } = models[state.model];
      if (now.key !== key) now = { key, symbols, ...chosen, ...computed.run(symbols.map((letter) => letters.indexOf(letter)), loops) };
      const place = placeToLookAt(symbols, at), ways = now.states.map((z) => z[at]); // place: where it should look; 0: nowhere
      Object.assign(now, {
        at, place, ways, right: place ? letters.indexOf(symbols[place]) : null, answers: ways.map((z) => computed.probabilities(z)),
        moves: now.rows.map((_, loop) => distance(ways[loop + 1], ways[loop])),
      });
    }
    const sees = (to) => !now.causal || to <= now.at;
    const attention = (to) => (state.loop ? now.rows[state.loop - 1][now.at][to] : 0);

    // ---- words ------------------------------------------------------------------------------------------------------
    const highest = (values) => values.indexOf(Math.max(...values));
    const named = (at) => `token ${at + 1}, “${now.symbols[at]}”`;
    const who = () => named(now.at).replace(/^t/, "T");
    const when = (loop = state.loop) => (loop ? `after loop ${loop}` : "before the first loop");
    /** Loops to tell of, in their order. */
    const some = (...all) => [...new Set([...all, now.own, loops])].sort((a, b) => a - b);
    function tell() {
      const title = edited() ? ", edited" : model.get("titles")[state.sequence - 1].replace(/.+/, " ($&)");
      const beyond = state.loop > now.own ? ` (it was made for ${now.own})` : "";
      told.tell(`Sequence ${state.sequence}${title}, ${state.model}, ${when()}${beyond}: ${whatItAnswers()} ` +
        (state.loop ? `${whereItLooks()} ${whatItBecomes()}` : `${who()}, has not looked anywhere, and all states are zero.`));
    }
    function whatItAnswers() {
      const shares = now.answers[state.loop], best = highest(shares), alike = shares[best] - Math.min(...shares) < 1e-9;
      const other = `the highest, ${percent(shares[best])}, has “${letters[best]}”`;
      if (!now.place) return `no answer is right, as ${named(now.at)}, did not occur before${alike ? "" : `; ${other.replace("highest", "highest probability")}`}.`;
      const rest = alike ? ", as has every symbol" : best === now.right ? ", the highest" : `; ${other}`;
      return `the right answer, “${letters[now.right]}”, has a probability of ${percent(shares[now.right])}${rest}.`;
    }
    function whereItLooks() {
      const shares = now.symbols.map((_, at) => attention(at)), mainly = highest(shares), to = named(mainly), by = percent(shares[mainly]);
      if (!now.place) return `${who()}, has nothing to look for; it looks most at ${to} (${by}).`;
      const rest = now.place === mainly ? ", the most" : `; the most, ${by}, goes to ${to}`;
      return `${who()}, should look at ${named(now.place)}: that gets ${percent(shares[now.place])} of its attention${rest}.`;
    }
    function whatItBecomes() {
      return `This loop moved its state by ${digits(now.moves[state.loop - 1])}; it now has a length of ${digits(Math.hypot(...now.ways[state.loop]))}.`;
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const quiet = { "data-lm-suppress-shortcuts": "true" }, hidden = { "aria-hidden": "true" };
    const unique = (name) => `${name}-${Math.random().toString(36).slice(2)}`;
    const button = (text, click) => make("button", { type: "button", text, click, ...quiet });
    const counter = (name, low, high, more, changed) => slider([low, high, high - low], {
      name, value: () => state[name], shown: () => `${state[name]} of ${high}${more()}`, changed, hidden: () => low === high,
    });
    const which = choice("model", Object.keys(models), state.model, (name) => select({ model: name }));
    const example = counter("sequence", 1, sequences.length, () => (edited() ? ", edited" : ""), (sequence) => select({ sequence, ...follow(sequences[sequence - 1]) }));
    const stepper = counter("loop", 0, loops, () => "", (loop) => select({ loop }));
    const step = (by) => () => select({ loop: within(state.loop + by, 0, loops) });
    const answer = make("output", { id: unique("note"), "aria-live": "polite" });
    const text = make("input", {
      type: "text", size: most + 2, spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-describedby": answer.id,
      input: () => edit(typed()), ...quiet,
    });
    const radios = unique("token"), caption = make("legend", {}), offered = unique("letter"), asked = make("legend", {});
    const cells = Array.from({ length: most }, (_, at) => make("label", {}, make("i", hidden),
      make("input", { type: "radio", name: radios, value: at + 1, change: () => select({ token: at + 1 }), ...quiet }),
      make("span", hidden), make("small", hidden))); // the input says it all
    const keys = letters.map((letter) => make("label", {},
      make("input", { type: "radio", name: offered, value: letter, "aria-label": letter, change: () => put(letter), ...quiet }),
      make("span", { text: letter, ...hidden })));
    const [told, heard] = announced(), panels = Array.from({ length: 5 }, () => make("div", {}));
    el.classList.add("explorer", "looped");
    el.append(
      which,
      make("div", { role: "group", "aria-label": "Choose a sequence to start from" }, example),
      make("div", { class: "cases", role: "group", "aria-label": "Edit the sequence" },
        make("label", {}, "edit ", text), button("shorter", shorter), button("longer", longer),
        button("another sequence", another), button("undo edits", () => edit(sequences[state.sequence - 1])), answer),
      make("fieldset", { class: "tokens", keydown: typedOver }, caption, ...cells),
      make("fieldset", { class: "neurons" }, asked, ...keys),
      make("div", { class: "cases", role: "group", "aria-label": "Choose a loop" }, stepper, button("one loop back", step(-1)), button("one loop on", step(1))),
      told, heard,
      make("div", { class: "panels" }, ...panels),
      make("p", { class: "legend", text:
        "Click on a token, or use the arrow keys, to see where it looks: the darker, the more; per cent while the tokens have " +
        "the focus, or the pointer. To change it, choose its letter in the row below, or type one. “Longer” puts a token in front, “shorter” takes " +
        `one away there. ${Object.values(models).some(({ causal }) => causal) ? "Dashed: what the chosen token cannot see. " : ""}▼\u00a0where it should look, right after the latest earlier ` +
        `occurrence of the same symbol; and the right answer. Over loops, dashed: a guess among ${size} symbols; dotted: as many loops as the model was ` +
        "made for. States of all tokens: areas are sizes, the largest of this loop alike; filled is above 0, hollow below." }),
    );

    // ---- edits: a token stays chosen, and if it is the last, the last -----------------------------------------------
    /** What keeps a text from being read, or nothing. */
    function mistake(to) {
      const unknown = [...to].find((letter) => !letters.includes(letter)), many = [...to].length;
      if (unknown) return `“${unknown}” is no symbol of these models: ${letters[0]} to ${letters.at(-1)}, please`;
      return many < fewest || many > most ? `${fewest} to ${most} tokens, please: these are ${many}` : "";
    }
    function follow(to, shift = 0) {
      const many = [...to].length;
      return { text: to, token: state.token === length() ? many : within(state.token + shift, 1, many) };
    }
    function edit(to, shift) {
      note = mistake(to);
      if (note) showNote();
      else select(follow(to, shift));
    }
    function showNote() {
      say(answer, note);
      text.setAttribute("aria-invalid", Boolean(mistake(typed())));
    }
    /** What stands in the field, without spaces, and small where only that is known. */
    function typed() {
      return [...text.value].filter((x) => x.trim()).map((x) => (letters.includes(x) ? x : x.toLowerCase())).join("");
    }
    function put(letter) {
      edit(now.symbols.map((own, at) => (at === now.at ? letter : own)).join(""));
    }
    function typedOver(event) {
      if (event.altKey || event.ctrlKey || event.metaKey || !letters.includes(event.key)) return;
      event.preventDefault();
      put(event.key);
    }
    const drawn = () => letters[Math.floor(size * Math.random())];
    function longer() {
      edit(drawn() + state.text, 1);
    }
    function shorter() {
      edit(now.symbols.slice(1).join(""), -1);
    }
    /** One whose last token occurs before, all of them equally likely. */
    function another() {
      let symbols;
      do symbols = now.symbols.map(drawn); while (!placeToLookAt(symbols, symbols.length - 1));
      edit(symbols.join(""));
    }

    // ---- pictures ---------------------------------------------------------------------------------------------------
    /** The tokens: radio buttons, so that arrow keys work. */
    function drawTokens() {
      say(caption, state.loop ? `where ${named(now.at)}, looks` : "tokens, before the first loop");
      say(asked, `token ${state.token} is`);
      keys.forEach((key, id) => (key.firstChild.checked = letters[id] === now.symbols[now.at]));
      cells.forEach((cell, at) => {
        cell.hidden = at >= now.symbols.length;
        if (cell.hidden) return;
        const [mark, input, letter, number] = cell.children, share = attention(at), due = now.place > 0 && now.place === at;
        const looked = !sees(at) ? "not seen" : state.loop ? `gets ${percent(share)} of the attention` : "not looked at yet";
        const label = `${named(at)}, ${looked}${due ? ", should be looked at" : ""}`;
        say(mark, due ? "▼" : "");
        say(letter, now.symbols[at]);
        say(number, state.loop && sees(at) ? percent(share).replace("\u00a0%", "") : "");
        letter.className = sees(at) ? "" : "unseen";
        letter.style.setProperty("--share", share);
        input.checked = at === now.at;
        input.setAttribute("aria-label", label);
        cell.title = label;
      });
    }
    function drawAnswers(bars, line) {
      const { answers, right } = now, shares = answers[state.loop], order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
      const list = order.filter((id) => shares[id] >= 0.005).map((id) => `“${letters[id]}” ${percent(shares[id])}`).join(", ");
      const is = right === null ? "No answer is right" : `Right is “${letters[right]}”`;
      drawAnswer(bars, {
        heading: `answer at token ${state.token}, ${when()}`, letters, shares, right,
        label: `Probability of each symbol as the answer at ${named(now.at)}, ${when()}: ${list || "all below 1 %"}. ${is}.`,
      });
      const values = right === null ? [] : answers.map((each) => each[right]);
      const over = some(0, state.loop).map((loop) => `${percent(values[loop])} ${when(loop)}`).join(", ");
      drawOverLoops(line, {
        heading: right === null ? "no answer is right" : `the right answer, “${letters[right]}”`,
        label: right === null ? `${is} at ${named(now.at)}.` : `Probability of the right answer, “${letters[right]}”, over loops: ${over}.`,
        ticks: SHARES, values, first: 0, level: 1 / size, at: state.loop, own: now.own, loops,
      });
    }
    function drawWay(bars, line) {
      const { moves, ways } = now, z = ways[state.loop], before = ways[state.loop - 1], list = (row) => row.map(withSign).join(", ");
      drawState(bars, {
        heading: `state of token ${state.token}, ${when()}`, z, before,
        label: `State of ${named(now.at)}, ${when()}: ${list(z)}${before ? `; a loop before: ${list(before)}` : ""}.`,
        far: rounded(Math.max(...z.concat(before ?? []).map(Math.abs))),
      });
      const top = rounded(Math.max(...moves)), over = some(Math.max(1, state.loop)).map((loop) => `${digits(moves[loop - 1])} in loop ${loop}`);
      drawOverLoops(line, {
        heading: `how far each loop moves token ${state.token}`,
        label: `How far each loop moves the state of ${named(now.at)}: ${over.join(", ")}.`,
        ticks: [0, top / 2, top].map((value) => [value, digits(value)]), values: moves, first: 1, at: state.loop, own: now.own, loops,
      });
    }
    function drawAll(panel) {
      const states = now.states[state.loop], sizes = states.flat().map(Math.abs), d = states[0].length, at = highest(sizes);
      const largest = `the largest, ${withSign(states.flat()[at])}, is number ${(at % d) + 1} of ${named(Math.floor(at / d))}`;
      drawStates(panel, {
        heading: `states of all tokens, ${when()}`, states, symbols: now.symbols, chosen: now.at,
        label: `States of all ${states.length} tokens, ${when()}, ${d} numbers each; ${sizes[at] ? largest : "all are 0"}.`,
      });
    }
    panels[4].addEventListener("click", ({ target: { dataset } }) => dataset.token && select({ token: Number(dataset.token) }));

    function refresh() {
      compute();
      which.show(state.model);
      [example, stepper].forEach((label) => label.show());
      if (!note && typed() !== state.text) text.value = state.text;
      showNote();
      drawTokens();
      drawAnswers(panels[0], panels[1]);
      drawWay(panels[2], panels[3]);
      drawAll(panels[4]);
      tell();
    }
    return keepUp({ model, el }, state, refresh);
  },
};
