"""Tokens and policies: who may do what, where tokens are in use."""

import uuid
from collections.abc import Iterable
from dataclasses import replace

from embedded.consul.errors import AclDisabledError, AclNotFoundError, FailedError, PermissionDeniedError
from embedded.consul.model import Policy, Token
from embedded.consul.state.ledger import POLICIES, TOKENS, Ledger
from embedded.consul.state.rules import ALLOW_ALL, Authorizer, authorizer, parse_rules, service_identity

MANAGEMENT_ID = "00000000-0000-0000-0000-000000000001"
ANONYMOUS_ID = "00000000-0000-0000-0000-000000000002"
ANONYMOUS_SECRET = "anonymous"
MANAGEMENT = Policy(MANAGEMENT_ID, "global-management", "Builtin Policy that grants unlimited access")


class Acl:
    """`enabled` says whether tokens are asked for at all; without, everybody may do everything.

    Tokens are given out with the time they were made at, and an expired one is as good as none: `now()` is UTC in ISO 8601.
    """

    def __init__(self, ledger: Ledger, *, enabled: bool = False, default_allow: bool = True) -> None:
        self.ledger = ledger
        self.enabled = enabled
        self._default_allow = default_allow
        self._policies: dict[str, Policy] = {}
        self._tokens: dict[str, Token] = {}
        self._by_secret: dict[str, str] = {}
        self._authorizers: dict[str, Authorizer] = {}

    # ── deciding ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def resolve(self, secret: str, now: str) -> Authorizer:
        """What the bearer of this secret may do. Raises AclNotFoundError for an unknown or expired one."""
        if not self.enabled:
            return ALLOW_ALL
        token = self.token_of(secret, now)
        known = self._authorizers.get(token.accessor)
        if known is None:
            known = self._authorizers[token.accessor] = self._authorizer(token)
        return known

    def token_of(self, secret: str, now: str) -> Token:
        token = self._tokens.get(self._by_secret.get(secret or ANONYMOUS_SECRET, ""))
        if token is None or (token.expiration_time and token.expiration_time <= now):
            raise AclNotFoundError
        return token

    def require_enabled(self) -> None:
        if not self.enabled:
            raise AclDisabledError

    def _authorizer(self, token: Token) -> Authorizer:
        if MANAGEMENT_ID in token.policies:
            return ALLOW_ALL
        texts = [self._policies[id].rules for id in token.policies if id in self._policies]
        texts += [service_identity(str(identity.get("ServiceName", ""))) for identity in token.service_identities]
        return authorizer(texts, self._default_allow)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def policy(self, id: str) -> Policy | None:
        return self._policies.get(id)

    def policy_named(self, name: str) -> Policy | None:
        return next((policy for policy in self._policies.values() if policy.name == name), None)

    def policies(self) -> list[Policy]:
        return [self._policies[id] for id in sorted(self._policies)]

    def token(self, accessor: str) -> Token | None:
        return self._tokens.get(accessor)

    def tokens(self) -> list[Token]:
        return [self._tokens[accessor] for accessor in sorted(self._tokens)]

    def secret_in_use(self, secret: str) -> bool:
        return secret in self._by_secret

    @property
    def bootstrapped(self) -> bool:
        return any(MANAGEMENT_ID in token.policies for token in self._tokens.values())

    def reset_index(self) -> int:
        """The index that shows when the first management token was made."""
        return min(token.created for token in self._tokens.values() if MANAGEMENT_ID in token.policies)

    # ── writing: each is a part of the write that the ledger has begun ───────────────────────────────────────────────

    def put_policy(self, policy: Policy) -> Policy:
        """Raises FailedError if its rules cannot be read, or its name is taken."""
        before = self._policies.get(policy.id)
        namesake = self.policy_named(policy.name)
        if namesake and namesake.id != policy.id:
            raise FailedError(f'Invalid Policy: A Policy with Name "{policy.name}" already exists')
        parse_rules(policy.rules)
        index = self.ledger.index
        policy = replace(policy, created=before.created if before else index, modified=index)
        self._policies[policy.id] = policy
        self._authorizers.clear()
        self.ledger.save(POLICIES, policy.id, policy)
        self.ledger.bump(POLICIES)
        return policy

    def delete_policy(self, id: str) -> None:
        if self._policies.pop(id, None) is not None:
            self._authorizers.clear()
            self.ledger.save(POLICIES, id, None)
            self.ledger.bump(POLICIES)

    def put_token(self, token: Token) -> Token:
        before = self._tokens.get(token.accessor)
        index = self.ledger.index
        token = replace(token, created=before.created if before else index, modified=index)
        self._place(token)
        self._authorizers.pop(token.accessor, None)
        self.ledger.save(TOKENS, token.accessor, token)
        self.ledger.bump(TOKENS)
        return token

    def delete_token(self, accessor: str) -> None:
        token = self._tokens.pop(accessor, None)
        if token:
            del self._by_secret[token.secret]
            self._authorizers.pop(accessor, None)
            self.ledger.save(TOKENS, accessor, None)
            self.ledger.bump(TOKENS)

    def begin(self, management_secret: str | None, now: str) -> None:
        """Makes the built-in policy, the anonymous token, and a management token with this secret, where they are missing."""
        if not self.enabled:
            return
        self.ledger.next()
        if MANAGEMENT_ID not in self._policies:
            self.put_policy(MANAGEMENT)
        if ANONYMOUS_ID not in self._tokens:
            self.put_token(Token(ANONYMOUS_ID, ANONYMOUS_SECRET, "Anonymous Token", create_time=now))
        if management_secret and management_secret not in self._by_secret:
            policies = (MANAGEMENT_ID,)
            self.put_token(Token(str(uuid.uuid4()), management_secret, "Master Token", policies, create_time=now))

    def bootstrap(self, now: str) -> Token:
        """The first management token. Raises PermissionDeniedError if there has been one."""
        if self.bootstrapped:
            raise PermissionDeniedError(f"ACL bootstrap no longer allowed (reset index: {self.reset_index()})")
        name = "Bootstrap Token (Global Management)"
        token = Token(str(uuid.uuid4()), str(uuid.uuid4()), name, (MANAGEMENT_ID,), create_time=now)
        return self.put_token(token)

    def restore(self, policies: Iterable[Policy], tokens: Iterable[Token]) -> None:
        """Takes rows that were saved, without a new write."""
        for policy in policies:
            self._policies[policy.id] = policy
        for token in tokens:
            self._place(token)

    def _place(self, token: Token) -> None:
        self._tokens[token.accessor] = token
        self._by_secret[token.secret] = token.accessor
