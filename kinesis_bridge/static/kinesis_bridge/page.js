/* The page "Kinesis bridge": keeps itself fresh, and tells a chart's figures under the pointer. */
"use strict";
{
    const bar = document.getElementById("kb-bar");
    const live = document.getElementById("kb-live");
    const at = document.getElementById("kb-at");
    const trouble = document.getElementById("kb-trouble");
    const seconds = Number(bar.dataset.seconds);
    const LONGEST_SECONDS = 60;
    const PATIENCE_SECONDS = 15;
    const SHARE = 4; // The pause is that many times as long as the answer took.
    let failures = 0;
    let took = 0;
    let timer = null;
    let asking = false;

    function later() {
        clearTimeout(timer);
        if (!document.hidden) {
            const wanted = Math.max(seconds * 2 ** failures, SHARE * took);
            const pause = Math.min(wanted, LONGEST_SECONDS);
            timer = setTimeout(refresh, pause * 1000);
        }
    }

    async function refresh() {
        if (asking) {
            return;
        }
        asking = true;
        const began = performance.now();
        try {
            const response = await fetch(bar.dataset.url, {
                headers: {Accept: "application/json"},
                signal: AbortSignal.timeout(PATIENCE_SECONDS * 1000),
            });
            if (response.redirected || response.status === 403) {
                say(bar.dataset.loggedOut);
                failures += 1;
            } else if (response.ok) {
                const answer = await response.json();
                show(answer.html);
                at.textContent = answer.at;
                say("");
                failures = 0;
            } else {
                throw new Error(`status ${response.status}`);
            }
        } catch {
            say(bar.dataset.trouble);
            failures += 1;
        }
        asking = false;
        took = (performance.now() - began) / 1000;
        later();
    }

    function say(text) {
        // A screen reader reads what changes: not the same once more.
        if (trouble.textContent !== text) {
            trouble.textContent = text;
        }
    }

    /* Replaces what has changed, and leaves open and focused what was. */
    function show(html) {
        const fresh = document.createElement("template");
        fresh.innerHTML = html;
        const opened = [...live.querySelectorAll("details[open][id]")].map((each) => each.id);
        const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
        const scrolled = [...live.querySelectorAll(".kb-scroll > table[id]")].map(
            (table) => [table.id, table.parentElement.scrollTop, table.parentElement.scrollLeft],
        );
        live.replaceChildren(fresh.content);
        for (const id of opened) {
            document.getElementById(id)?.setAttribute("open", "");
        }
        for (const [id, top, left] of scrolled) {
            document.getElementById(id)?.parentElement.scrollTo(left, top);
        }
        if (focused) {
            document.getElementById(focused)?.focus({preventScroll: true});
        }
        point();
    }

    let pointed = null;

    /* Shows the figures of the moment that is pointed at, out of the table below the charts. */
    function point() {
        const plot = pointed && document.elementFromPoint(pointed.x, pointed.y)?.closest(".kb-plot");
        for (const other of live.querySelectorAll(".kb-pointed")) {
            if (other !== plot) {
                forget(other);
            }
        }
        const rows = plot && document.getElementById(
            plot.closest(".kb-charts").dataset.table,
        )?.tBodies[0].rows;
        if (!rows?.length) {
            return;
        }
        const svg = plot.querySelector("svg");
        const box = svg.getBoundingClientRect();
        const share = Math.min(1, Math.max(0, (pointed.x - box.left) / box.width));
        const number = Math.round(share * (rows.length - 1));
        const cells = rows[number].cells;
        const columns = plot.dataset.columns.trim().split(" ");
        const figures = columns.map((column) => cells[column].textContent);
        plot.querySelector(".kb-readout").textContent =
            `${cells[0].textContent}  ${figures.join(" / ")}`;
        const cursor = plot.querySelector(".kb-cursor");
        const place = rows.length > 1 ? (100 * number) / (rows.length - 1) : 0;
        cursor.setAttribute("x1", place);
        cursor.setAttribute("x2", place);
        plot.classList.add("kb-pointed");
    }

    function forget(plot) {
        plot.querySelector(".kb-readout").textContent = "";
        plot.classList.remove("kb-pointed");
    }

    live.addEventListener("pointermove", (event) => {
        pointed = {x: event.clientX, y: event.clientY};
        point();
    });
    live.addEventListener("pointerleave", () => {
        pointed = null;
        point();
    });
    document.addEventListener("visibilitychange", () => {
        clearTimeout(timer);
        if (!document.hidden) {
            refresh();
        }
    });
    later();
}
