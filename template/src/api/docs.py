"""The page `/docs`, with Swagger UI in one version, whose files browsers compare with their hashes.

A file of another version needs its hash: `openssl dgst -sha384 -binary FILE | base64`.
"""

import base64
import hashlib
import re

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

CDN = "https://cdn.jsdelivr.net"
FOLDER = f"{CDN}/npm/swagger-ui-dist@5.35.0"
SCRIPT = f"{FOLDER}/swagger-ui-bundle.js"
STYLE = f"{FOLDER}/swagger-ui.css"
HASHES = {
    SCRIPT: "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9",
    STYLE: "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I",
}
INLINE_SCRIPT = re.compile(r"(?s)<script>(.*?)</script>")

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Return the page; other sites cannot show it in a frame of theirs."""
    root_path = request.scope.get("root_path", "").rstrip("/")
    page = get_swagger_ui_html(
        openapi_url=f"{root_path}/openapi.json",
        title=f"{request.app.title} - Swagger UI",
        swagger_js_url=SCRIPT,
        swagger_css_url=STYLE,
        swagger_favicon_url="data:,",
    )
    html = bytes(page.body).decode()
    for url, digest in HASHES.items():
        checked = f'"{url}" integrity="{digest}" crossorigin="anonymous"'
        html = html.replace(f'"{url}"', checked)
    headers = {"Content-Security-Policy": _build_policy(html), "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(html, headers=headers)


def _build_policy(html: str) -> str:
    """Return the policy that allows what the page itself needs."""
    digests = [hashlib.sha256(script.encode()).digest() for script in INLINE_SCRIPT.findall(html)]
    inline = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {CDN} {' '.join(inline)}",
            f"style-src {CDN} 'unsafe-inline'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )
