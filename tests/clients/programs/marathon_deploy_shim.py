"""`marathon-deploy`, with what its client library misses since Python 3.10."""

import collections
import collections.abc

collections.Iterable = collections.abc.Iterable

from marathon_deploy.deploytool import main  # noqa: E402

main()
