const by = id => document.getElementById(id)
const all = (selector, within = document) => [...within.querySelectorAll(selector)]

// Places: one slider for all pictures, and highlighting of a label in all of them.
if (by("place")) {
  const picked = by("picked"), hint = picked.textContent
  let colour = null
  const stacks = () => all(`.views[data-place="${by("place").value}"] .stack`)
  const shownLabels = stack => all("img.label", stack).find(image => !image.hidden)
  const setCut = value => { by("cut").value = value; by("places").style.setProperty("--cut", value + "%") }
  const pixels = image => {
    const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight })
    const context = canvas.getContext("2d", { willReadFrequently: true })
    context.drawImage(image, 0, 0)
    return context.getImageData(0, 0, canvas.width, canvas.height)
  }
  const hex = (data, at) => "#" + [0, 1, 2].map(k => data[at + k].toString(16).padStart(2, "0")).join("")
  const clear = () => { colour = null; all(".stack canvas").forEach(canvas => canvas.remove()); by("all-labels").hidden = true; picked.textContent = hint }
  const pick = chosen => {
    clear()
    colour = chosen
    by("all-labels").hidden = false
    const shares = []
    for (const stack of stacks()) {
      const image = shownLabels(stack)
      if (!image) continue
      const { data, width, height } = pixels(image)
      const canvas = Object.assign(document.createElement("canvas"), { width, height })
      const veil = new ImageData(width, height)
      let count = 0
      for (let at = 0; at < data.length; at += 4) {
        if (hex(data, at) === chosen) count++
        else { veil.data[at] = veil.data[at + 1] = veil.data[at + 2] = 12; veil.data[at + 3] = 205 }
      }
      canvas.getContext("2d").putImageData(veil, 0, 0)
      stack.append(canvas)
      shares.push(`${stack.parentNode.querySelector("figcaption").textContent} ${(100 * count / width / height).toFixed(1)} %`)
    }
    const name = labelNames[by("labels").value][chosen]
    picked.innerHTML = `<i class="swatch" style="background:${chosen}"></i>`
    picked.append(`Label ${name ?? chosen}: ${shares.join(", ")} of the picture.`)
  }
  by("place").onchange = () => { clear(); all(".views").forEach(views => views.hidden = views.dataset.place !== by("place").value) }
  by("labels").onchange = () => { clear(); all(".stack [data-model]").forEach(one => one.hidden = one.dataset.model !== by("labels").value) }
  by("cut").oninput = event => setCut(event.target.value)
  by("all-labels").onclick = clear
  for (const stack of all(".stack")) {
    let start = null
    const along = event => Math.round(100 * Math.min(1, Math.max(0, (event.clientX - stack.getBoundingClientRect().left) / stack.clientWidth)))
    stack.onpointerdown = event => { start = event; event.preventDefault() }
    stack.onpointermove = event => {
      if (!start || Math.abs(event.clientX - start.clientX) < 6 && !start.moved) return
      if (!start.moved) stack.setPointerCapture(event.pointerId)
      start.moved = true
      setCut(along(event))
    }
    stack.onpointercancel = () => start = null
    stack.onpointerup = event => {
      const image = shownLabels(stack)
      if (start && !start.moved && image) {
        const box = stack.getBoundingClientRect(), { data, width, height } = pixels(image)
        const x = Math.min(width - 1, Math.floor((event.clientX - box.left) / box.width * width))
        const y = Math.min(height - 1, Math.floor((event.clientY - box.top) / box.height * height))
        const chosen = hex(data, 4 * (y * width + x))
        chosen === colour ? clear() : pick(chosen)
      }
      start = null
    }
  }
}

// Clusters: sort, filter, and show the first dozen until "Show all" is pressed.
if (by("gallery")) {
  const gallery = by("gallery"), cards = [...gallery.children], first = 12
  let open = false
  const arrange = () => {
    const key = by("order").value, which = by("which").value
    cards.sort((a, b) => b.dataset[key] - a.dataset[key]).forEach(card => gallery.append(card))
    const fitting = cards.filter(card => !which || card.dataset.stays === which)
    cards.forEach(card => card.hidden = true)
    fitting.slice(0, open ? undefined : first).forEach(card => card.hidden = false)
    by("more").hidden = open || fitting.length <= first
    by("more").textContent = `Show all ${fitting.length}`
  }
  by("order").onchange = by("which").onchange = arrange
  by("more").onclick = () => { open = true; arrange() }
  arrange()
}

// Confusion matrix.
if (by("heat")) {
  const { names, colours, tables, points } = JSON.parse(by("confusion-data").textContent)
  const canvas = by("heat"), count = names.length, strip = Math.max(2, Math.round(count / 30))
  const cell = Math.max(1, Math.floor(760 / (count + strip))), side = (count + strip) * cell
  let table, cursor = null
  const decode = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
  const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--ink").trim()
  const draw = () => {
    canvas.width = canvas.height = side
    const context = canvas.getContext("2d"), [r, g, b] = ink().split(" ")
    const shade = share => `rgb(${r} ${g} ${b} / ${(0.04 + 0.96 * Math.sqrt(share)).toFixed(3)})`
    for (let row = 0; row < count; row++) {
      context.fillStyle = colours[row]
      context.fillRect(0, (row + strip) * cell, (strip - 1) * cell, cell)
      context.fillRect((row + strip) * cell, 0, cell, (strip - 1) * cell)
      for (let column = 0; column < count; column++) {
        context.fillStyle = shade(table[row * count + column] / 255)
        context.fillRect((column + strip) * cell, (row + strip) * cell, cell, cell)
      }
    }
    if (cursor) {
      context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent")
      context.lineWidth = 2
      context.strokeRect((cursor[1] + strip) * cell - 1, (cursor[0] + strip) * cell - 1, cell + 2, cell + 2)
    }
    by("ramp").style.background = `linear-gradient(90deg, ${[0, 1, 2, 3, 4, 5, 6, 7, 8].map(n => shade((n / 8) ** 2)).join(",")})`
  }
  const describe = () => {
    const [row, column] = cursor, condition = by("heat-condition").value, total = points[condition][row]
    const swatch = at => Object.assign(document.createElement("i"), { className: "swatch", style: `background:${colours[at]}` })
    const share = table[row * count + column] / 2.55
    by("heat-text").replaceChildren("Label ", swatch(row), names[row], row === column ? " agrees" : " is confused with ", ...(row === column ? [] : [swatch(column), names[column]]),
      ` at ${share > 0 && share < 0.5 ? "less than 1" : share.toFixed(0)} % of its ${total} points${condition === "all" ? "" : " (" + condition + ")"}.`)
  }
  const choose = () => { table = decode(tables[by("heat-condition").value]); draw(); if (cursor) describe() }
  const move = (row, column) => { cursor = [row, column].map(value => Math.min(count - 1, Math.max(0, value))); draw(); describe() }
  const point = event => {
    const box = canvas.getBoundingClientRect(), at = (value, start, size) => Math.floor((value - start) / size * (count + strip)) - strip
    const row = at(event.clientY, box.top, box.height), column = at(event.clientX, box.left, box.width)
    if (row >= 0 && column >= 0) move(row, column)
  }
  canvas.onpointermove = canvas.onpointerdown = point
  canvas.onkeydown = event => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key]
    if (!step) return
    event.preventDefault()
    const [row, column] = cursor ?? [-step[0], -step[1]]
    move(row + step[0], column + step[1])
  }
  by("heat-condition").onchange = choose
  matchMedia("(prefers-color-scheme: dark)").onchange = draw
  choose()
}

// Poses: one method at a time on the map.
if (by("map")) {
  const show = () => {
    const method = by("map-method").value, condition = by("map-condition").value
    const here = one => !condition || one.dataset.condition === condition
    const found = all("#map g[data-method]")
    found.forEach(one => one.toggleAttribute("hidden", one.dataset.method !== method || !here(one)))
    all("#map g.true").forEach(one => one.toggleAttribute("hidden", !here(one)))
    const shown = found.filter(one => !one.hasAttribute("hidden")), near = shown.filter(one => one.querySelector(".near"))
    const total = all("#map g.true").filter(here).length
    by("map-count").textContent = `${total} true poses; ${near.length} found within 5 ${by("map").dataset.unit} and 10°, ${shown.length - near.length} found elsewhere.`
  }
  by("map-method").onchange = by("map-condition").onchange = show
  show()
}

// Matches: one query and one method at a time.
if (by("matches")) {
  const { methods, queries, references } = JSON.parse(by("match-data").textContent)
  const drawing = (kind, attributes) => {
    const made = document.createElementNS(by("match-lines").namespaceURI, kind)
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
    return made
  }
  const show = () => {
    const pair = queries[by("match-query").value], method = +by("match-method").value
    const kinds = new Set(all(".match-kind").filter(one => one.checked).map(one => one.value))
    by("match-left").src = pair.picture
    by("match-right").src = references[pair.reference]
    by("match-left").alt = `query ${pair.query}`
    by("match-right").alt = `map image ${pair.reference}`
    const given = pair.lines.filter(line => line[5] >> method & 1)
    const lines = given.map(([x1, y1, x2, y2, right, , accepting]) => {
      const is = [right ? "correct" : "wrong", accepting >> method & 1 ? "accepted" : "rejected"]
      if (!is.every(kind => kinds.has(kind))) return null
      const [left, other] = [`${x1 * 0.49}%`, `${51 + x2 * 0.49}%`], group = drawing("g", { class: is.join(" ") })
      const ends = { x1: left, y1: `${y1}%`, x2: other, y2: `${y2}%` }
      group.append(drawing("line", { ...ends, class: "halo" }), drawing("line", ends))
      group.append(drawing("use", { href: `#end-${is[0]}`, x: left, y: `${y1}%` }), drawing("use", { href: `#end-${is[0]}`, x: other, y: `${y2}%` }))
      return group
    }).filter(Boolean)
    by("match-lines").replaceChildren(...lines.sort((a, b) => a.classList.contains("accepted") - b.classList.contains("accepted")))
    const [accepted, good, rejected, lost] = pair.counts[method]
    by("match-text").textContent = `Of ${accepted + rejected} matches with the map, ${methods[method]} accepts ${accepted}, ${good} of them correct, and rejects ${rejected}, ${lost} of them correct. ${given.length} have an observation in this map image and can be drawn.`
  }
  for (const one of [by("match-query"), by("match-method"), ...all(".match-kind")]) one.onchange = show
  show()
}

// Pictures, enlarged.
for (const button of all(".opens")) button.onclick = () => {
  const picture = button.closest(".enlarges").querySelector(".picture").cloneNode(true)
  all("canvas", picture).forEach(canvas => canvas.remove())
  all("[id]", picture).forEach(one => one.removeAttribute("id"))
  by("large-picture").style.setProperty("--cut", (by("cut")?.value ?? 50) + "%")
  by("large-picture").replaceChildren(picture)
  by("large").showModal()
}
by("large").onclick = event => { if (event.target === by("large")) by("large").close() }
