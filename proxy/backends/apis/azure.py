"""Azure OpenAI: OpenAI's bodies at Azure's addresses, with Azure's authentication.

A deployment has the name of its model, and the API version stands in the query.
"""

from dataclasses import dataclass
from urllib.parse import quote

from proxy.backends.apis.openai import OpenAI


@dataclass(frozen=True, slots=True)
class Azure(OpenAI):
    """See `proxy.backends.apis.Api`."""

    def url(self, path: str, model: str) -> str:
        """Return the path of a model's deployment. All deployments share one path for responses."""
        base, version = self.settings.base_url.rstrip("/"), quote(self.settings.api_version or "")
        deployment = "" if path.startswith("/responses") else f"/deployments/{quote(model, safe='')}"
        return f"{base}/openai{deployment}{path}?api-version={version}"

    def headers(self) -> dict[str, str]:
        """Return the key as Azure's own header."""
        return {"content-type": "application/json", "api-key": self.key}
