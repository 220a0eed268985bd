"use strict";

// What is marked data-live is fetched again and again, and put in its place if it is other. The focus stays where it is.
const EVERY_MS = 2000;

function holdsStill() {
    return document.hidden || document.getElementById("pause")?.checked;
}

async function refresh() {
    if (holdsStill()) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.redirected) return location.reload();
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (holdsStill()) return;
    for (const part of document.querySelectorAll("[data-live]")) {
        const other = page.querySelector(`[data-live="${part.dataset.live}"]`);
        if (!other) continue;
        for (const open of part.querySelectorAll("details[open][id]")) {
            const same = other.querySelector(`#${CSS.escape(open.id)}`);
            if (same) same.open = true;
        }
        if (other.isEqualNode(part)) continue;
        const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
        part.replaceWith(document.importNode(other, true));
        if (focused) document.getElementById(focused)?.focus();
    }
}

function again() {
    setTimeout(() => refresh().catch(() => {}).finally(again), EVERY_MS);
}

if (document.querySelector("[data-live]")) again();

// Swaps: the answer is a line of JSON for each thing that happens.

const STEPS = ["prepare", "warm", "follow", "shadow", "cut over"];

function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
}

function begin() {
    document.getElementById("progress").hidden = false;
    document.getElementById("outcome").textContent = "";
    document.getElementById("differences").replaceChildren();
    document.getElementById("steps").replaceChildren(...STEPS.map((step) => element("li", step)));
    for (const button of document.querySelectorAll("#swap button, #rollback button")) button.disabled = true;
}

function step(name) {
    for (const item of document.querySelectorAll("#steps li")) {
        item.classList.toggle("now", item.textContent === name);
        item.ariaCurrent = item.textContent === name ? "step" : null;
    }
}

function say(text, isWrong) {
    const outcome = document.getElementById("outcome");
    outcome.textContent = text;
    outcome.classList.toggle("wrong", Boolean(isWrong));
}

function differ({ sequence, input, dialect, operation, live, new: other }) {
    const shown = element("div", undefined, "difference");
    shown.append(element("h3", `Input ${sequence}: ${[input, dialect, operation].filter(Boolean).join(" ")}`));
    for (const [title, text] of [["The version that runs", live], ["The other one", other]]) {
        const figure = element("figure");
        const text_ = element("pre", text);
        text_.tabIndex = 0;
        figure.append(element("figcaption", title), text_);
        shown.append(figure);
    }
    document.getElementById("differences").append(shown);
}

function take(line) {
    if (line.step) step(line.step);
    if (line.followed) say(`It has seen ${line.followed.sequence} of ${line.followed.last} inputs.`);
    if (line.compared) say(`${line.compared.inputs} reactions compared, ${line.compared.differences} differ.`);
    if (line.difference) differ(line.difference);
    if (line.done) {
        step("");
        const { to, paused_us, compared, differences } = line.done;
        say(`${to.slice(0, 12)} has taken over; inputs waited ${paused_us} µs; ${compared} compared, ${differences} differ.`);
    }
    if (line.refused) say(`Refused at "${line.refused.step}": ${line.refused.why}`, true);
}

async function follow(url, method, headers, body) {
    begin();
    try {
        const answer = await fetch(url, { method, headers, body });
        if (!answer.ok) throw new Error((await answer.json()).error.message);
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let left = "";
        for (;;) {
            const { done, value } = await reader.read();
            if (done) break;
            const lines = (left + value).split("\n");
            left = lines.pop();
            for (const line of lines) take(JSON.parse(line));
        }
    } catch (error) {
        say(error.message, true);
    }
    document.querySelector("#swap button").disabled = false;
    document.querySelector("#rollback button").disabled = false;
}

async function base64(file) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    return btoa(String.fromCharCode(...bytes));
}

document.getElementById("swap")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = (id) => document.getElementById(id);
    const query = new URLSearchParams({ "on-difference": value("on-difference").value });
    if (value("shadow").valueAsNumber > 0) query.set("shadow", value("shadow").value);
    const signature = value("signature").files[0];
    const headers = signature ? { "postbell-signature": await base64(signature) } : {};
    await follow(`${event.target.getAttribute("action")}?${query}`, "PUT", headers, value("component").files[0]);
});

document.getElementById("rollback")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    await follow(event.target.getAttribute("action"), "POST", {}, undefined);
});
