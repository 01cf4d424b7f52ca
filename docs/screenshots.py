"""Pictures of the report's first screen for the documentation: light, dark, and on a phone.

    python docs/screenshots.py runs/demo/report.html docs

It needs playwright and an installed Chromium.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# (file, width, height, colour scheme)
PICTURES = (
    ("report-light.png", 1440, 900, "light"),
    ("report-dark.png", 1440, 900, "dark"),
    ("report-phone.png", 390, 844, "light"),
)


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="a report.html")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    arguments = parser.parse_args()
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, width, height, scheme in PICTURES:
            size = {"width": width, "height": height}
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.goto(arguments.report.resolve().as_uri())
            page.screenshot(path=arguments.folder / name)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
