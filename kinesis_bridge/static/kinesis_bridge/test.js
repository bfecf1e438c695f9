/* Follows a test record: each hop is shown as it is passed. Without this the page comes at the end. */
"use strict";
{
    const form = document.getElementById("kb-test");
    const steps = document.getElementById("kb-steps");
    const working = document.getElementById("kb-working");
    const button = form.querySelector("[type=submit]");

    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const body = new FormData(form);
        button.disabled = true;
        steps.replaceChildren();
        working.textContent = form.dataset.working;
        try {
            const response = await fetch(form.action, {
                method: "POST",
                body: new URLSearchParams(body),
                headers: {Accept: "application/x-ndjson"},
            });
            if (!response.ok || response.redirected) {
                throw new Error(`status ${response.status}`);
            }
            await follow(response.body.pipeThrough(new TextDecoderStream()).getReader());
            working.textContent = "";
        } catch {
            working.textContent = form.dataset.broken;
        }
        button.disabled = false;
    });

    async function follow(reader) {
        let rest = "";
        for (;;) {
            const {value, done} = await reader.read();
            if (done) {
                return;
            }
            const lines = (rest + value).split("\n");
            rest = lines.pop();
            for (const line of lines) {
                steps.insertAdjacentHTML("beforeend", JSON.parse(line).html);
            }
        }
    }
}
