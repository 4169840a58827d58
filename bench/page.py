"""Let some requests fail, and take a picture of the page that shows them; needs chromium."""

import base64
import contextlib
import tempfile
from pathlib import Path

import httpx2

from bench.servers import ROOT, render, running
from tests.support.browser import browser

PICTURE = ROOT / "docs" / "errors-page.png"
SHOP = '''"""A shop with a bug, and a bank that is unavailable."""

from src.main import app
from src.utils.errors import UnavailableError


def share(total: float, people: int) -> float:
    """Return what each person has to pay."""
    return total / people


@app.get("/bills/{bill_id}")
async def bill(bill_id: int, people: int) -> float:
    """Split a bill."""
    return share(39.90, people)


@app.post("/payments")
async def pay() -> None:
    """Have the bank move money."""
    try:
        raise TimeoutError
    except TimeoutError as exc:
        raise UnavailableError("The bank does not answer.") from exc
'''
# The rendered service is in a temporary folder, whose name does not belong into a picture.
SHORTEN_PATHS = """
    const trace = document.querySelector("pre");
    trace.append(trace.innerText.replaceAll("{folder}/", ""));
    trace.firstChild.remove();
"""
REQUESTS = [("GET", "/bills/7?people=two"), ("POST", "/payments"), ("GET", "/bills/7?people=0")]


def main() -> None:
    """Open the page of a service with a bug, send requests, and write the picture when they are shown."""
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        folder = Path(name)
        service = render(folder / "service", "-d", "example=none", "-d", "stores=[]")
        (service / "src" / "shop.py").write_text(SHOP)
        server = stack.enter_context(running("src.shop:app", service))
        chromium = browser(folder / "profile", "--window-size=1000,640", "--hide-scrollbars")
        tab = stack.enter_context(chromium)
        tab.open(f"{server.url}/debug/errors")
        tab.until("document.querySelector('output').innerText == 'live'")
        for method, path in REQUESTS:
            httpx2.request(method, f"{server.url}{path}")
        tab.until(f"document.querySelectorAll('li').length == {len(REQUESTS)}")
        tab.run("document.querySelector('summary').click()")
        tab.run(SHORTEN_PATHS.replace("{folder}", str(service)))
        height = tab.run("document.querySelector('ol').getBoundingClientRect().bottom + 16")
        clip = {"x": 0, "y": 0, "width": 1000, "height": height, "scale": 1}
        screenshot = tab.call("Page.captureScreenshot", clip=clip)
        PICTURE.write_bytes(base64.b64decode(screenshot["data"]))


if __name__ == "__main__":
    main()
