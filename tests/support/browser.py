"""Headless Chromium, driven by Selenium, for the tests of pages."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # which root may not have
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
    "--lang=en-US",
)
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
LAPTOP = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
DESK = (1280, 1000)


def missing():
    """Why no browser can be had; empty if there is one."""
    if not any(map(shutil.which, BROWSERS)):
        return "No Chromium on this machine: apt-get install chromium chromium-driver"
    if not shutil.which("chromedriver"):
        return "No chromedriver on this machine: apt-get install chromium-driver"
    return ""


class Browser:
    """One window; what a person does in it, and sees."""

    def __init__(self, driver):
        self.driver = driver
        self.url = ""

    def open(self, path):
        """Go to a path of the site."""
        self.driver.get(self.url + path)

    def all(self, selector, within=None):
        """Every element that matches a CSS selector."""
        return (within or self.driver).find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        """The one element that matches it."""
        (found,) = self.all(selector)
        return found

    def text(self, selector="#content"):
        """What a person reads there, in one line."""
        every = "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText)"
        (found,) = self.run(every, selector)
        return " ".join(found.split())

    def click(self, text):
        """Click on the visible link or button with this text."""
        self.wait(lambda: self._click("a, button, input[type=submit]", text))

    def unfold(self, within="#content"):
        """Open everything that is folded."""
        for number in range(len(self.all(f"{within} details"))):
            self.wait(lambda: self._click(f"{within} summary", "", number))  # noqa: B023

    def _click(self, selector, text, number=0):
        found = [
            each
            for each in self.all(selector)
            if not text or text in {each.text.strip(), each.get_attribute("value")}
        ]
        found[number].click()
        return True

    def wait(self, condition, seconds=20):
        """Wait until the condition holds; what is replaced meanwhile is looked at again."""
        end = time.monotonic() + seconds
        while True:
            try:
                if found := condition():
                    return found
            except (WebDriverException, LookupError, ValueError):
                pass
            assert time.monotonic() < end, f"not within {seconds} s:\n{self.text('body')}"
            time.sleep(0.05)

    def run(self, script, *arguments):
        """Run JavaScript and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def tell(self, command, **parameters):
        """Send a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def log_in(self, name):
        """Log in as a user whose password is the name."""
        self.open("/admin/login/")
        self.one("#id_username").send_keys(name)
        self.one("#id_password").send_keys(name)
        self.one("[type=submit]").click()
        self.wait(lambda: self.all("#user-tools"))

    def be_a_phone(self):
        """Have the width of one."""
        self.tell("Emulation.setDeviceMetricsOverride", **PHONE)

    def be_a_laptop(self):
        """Have the size of a small one."""
        self.tell("Emulation.setDeviceMetricsOverride", **LAPTOP)

    def is_in_sight(self, selector):
        """Tell whether all of it is seen without scrolling, and nothing of it is cut off."""
        script = """
            const each = document.querySelector(arguments[0]);
            const { top, left, bottom, right } = each.getBoundingClientRect();
            return each.offsetParent !== null && top >= 0 && left >= 0 && bottom <= innerHeight
                && right <= innerWidth && each.scrollHeight <= each.clientHeight + 1;
        """
        return self.run(script, selector)

    def be_dark(self):
        """Have the system's dark theme."""
        self.tell(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark"}],
        )

    def reset(self):
        """Be a desktop's browser, light, with an empty log and logged in nowhere."""
        self.driver.get("about:blank")
        self.tell("Network.enable")
        self.tell("Network.clearBrowserCookies")
        self.tell("Network.setBlockedURLs", urls=[])
        self.tell("Emulation.clearDeviceMetricsOverride")
        self.tell("Emulation.setEmulatedMedia", features=[])
        self.tell("Emulation.setScriptExecutionDisabled", value=False)
        self.driver.set_window_size(*DESK)
        self.complaints()

    def complaints(self):
        """What the console said since it was asked last: violated policies, errors of scripts."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        return [line for line in said if "/favicon.ico" not in line]

    def picture(self, name, height=None):
        """Write ``docs/images/<name>.png`` where SCREENSHOTS is set: a test run changes no file."""
        if not os.environ.get("SCREENSHOTS"):
            return
        IMAGES.mkdir(parents=True, exist_ok=True)
        width = self.run("return window.innerWidth")
        height = height or self.run("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.tell("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        import base64

        (IMAGES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing():
    """A browser with an empty profile, until the block ends."""
    options = Options()
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        for switch in (*SWITCHES, f"--user-data-dir={profile}"):
            options.add_argument(switch)
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
