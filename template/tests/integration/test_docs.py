"""The page that describes the service loads only what it names, and is shown nowhere else."""

import base64
import hashlib
import re

import httpx2

from src.main import create_app


async def test_docs_load_only_what_has_a_known_hash() -> None:
    """Each file of another host has a hash, the script of the page as well; no frame shows it."""
    transport = httpx2.ASGITransport(create_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/docs")
    assert response.status_code == 200
    urls = re.findall(r'"(https://[^"]+)"', response.text)
    checked = re.findall(r'"(https://[^"]+)" integrity="sha384-[^"]{64}"', response.text)
    assert len(urls) == 2
    assert checked == urls
    policy = response.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    scripts = re.findall(r"(?s)<script>(.*?)</script>", response.text)
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
