from tests.support.consul import embedded_consul as embedded_consul
from tests.support.consul import shared_embedded_consul as shared_embedded_consul
from tests.support.vault import vault as vault
