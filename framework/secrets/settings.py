"""Settings of the stores of secrets; the daemon's settings inherit them. (`--secrets-default`, `--secrets-scoped` are the API's too.)"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from daemonkit.settings import Seconds, Settings


class SecretsSettings(Settings):
    section: ClassVar[str] = "framework"

    secrets_dir: Path | None = Field(None, description="the folder of secrets kept as files")
    secrets_consul_address: str | None = Field(None, description="Consul's address for secrets: http://host:8500")
    secrets_consul_prefix: str = Field("secrets", description="the folder of Consul's KV below which secrets are")
    secrets_consul_token_file: Path | None = Field(None, description="the file with Consul's token; read each time")
    secrets_vault_address: str | None = Field(None, description="Vault's address: https://host:8200")
    secrets_vault_mount: str = Field("secret", min_length=1, description="where KV version 2 is mounted in Vault")
    secrets_vault_namespace: str | None = Field(None, description="Vault's namespace")
    secrets_vault_token_file: Path | None = Field(None, description="the file with Vault's token; read each time")
    secrets_ca: Path | None = Field(None, description="the CA of Vault's and Consul's certificates (PEM)")
    secrets_timeout: Seconds = Field(5.0, gt=0, description="how long Vault and Consul have to answer")
    secrets_ttl: Seconds = Field(60.0, ge=1, description="so long a fetched secret is used for launches")
    secrets_retry: Seconds = Field(10.0, gt=0, description="how often a secret that cannot be read is tried again")
    max_secret_bytes: int = Field(65536, ge=1, description="the largest secret")
