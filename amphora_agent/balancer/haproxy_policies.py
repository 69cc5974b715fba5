# SPDX-License-Identifier: Apache-2.0
"""Policies and rules of a listener as lines of haproxy."""

from collections.abc import Iterator

from amphora_agent.balancer.haproxy_conf import line, literal, pattern
from amphora_agent.balancer.listener import (
    CompareType,
    Listener,
    Policy,
    PolicyAction,
    Rule,
    RuleType,
)
from amphora_agent.balancer.pool import Pool
from amphora_agent.balancer.written import Written

_MATCHES = {
    CompareType.REGEX: "reg",
    CompareType.STARTS_WITH: "beg",
    CompareType.ENDS_WITH: "end",
    CompareType.CONTAINS: "sub",
    CompareType.EQUAL_TO: "str",
}


def lines(listener: Listener, pools: dict[str, Pool]) -> Iterator[Written]:
    """Conditions and what is done under them, in the order of the policies.

    A policy without a rule that is enabled does nothing.
    """
    for policy in listener.policies:
        rules = [rule for rule in policy.rules if rule.enabled]
        if policy.enabled and rules:
            yield from map(_acl, rules)
            yield from _action(policy, rules, listener, pools)


def _acl(rule: Rule) -> Written:
    return line("acl", rule.id, *_criterion(rule))


def _criterion(rule: Rule) -> Iterator[str]:
    match rule.type:
        case RuleType.SSL_CONN_HAS_CERT:
            yield "ssl_c_used"
            return
        case RuleType.SSL_VERIFY_RESULT:
            yield from ("ssl_c_verify", "eq", rule.value)
            return
        case RuleType.HOST_NAME:
            yield from ("req.hdr(host)", "-i")
        case RuleType.PATH:
            yield "path"
        case RuleType.FILE_TYPE:
            yield "path_end"
        case RuleType.HEADER:
            yield f"req.hdr({rule.key})"
        case RuleType.COOKIE:
            yield f"req.cook({rule.key})"
        case RuleType.SSL_DN_FIELD:
            yield f"ssl_c_s_dn({rule.key})"
    # haproxy takes no `-m str` for path_end, which compares whole anyway (haproxy issue 2567).
    if rule.type is not RuleType.FILE_TYPE or rule.compare_type is not CompareType.EQUAL_TO:
        yield from ("-m", _MATCHES[rule.compare_type])
    yield from pattern(rule.value)


def _action(
    policy: Policy, rules: list[Rule], listener: Listener, pools: dict[str, Pool]
) -> Iterator[Written]:
    condition = ("if", *(f"!{rule.id}" if rule.invert else rule.id for rule in rules))
    code: tuple[str | int, ...] = ()
    if policy.redirect_http_code is not None:
        code = ("code", policy.redirect_http_code)
    match policy.action:
        case PolicyAction.REJECT:
            yield line("http-request", "deny", *condition)
        case PolicyAction.REDIRECT_TO_URL:
            location = literal(policy.redirect_url or "")
            yield line("redirect", *code, "location", location, *condition)
        case PolicyAction.REDIRECT_PREFIX:
            prefix = literal(policy.redirect_prefix or "")
            yield line("redirect", *code, "prefix", prefix, *condition)
        case PolicyAction.REDIRECT_TO_POOL:
            pool = pools[policy.redirect_pool or ""]
            if pool.enabled:
                yield line("use_backend", f"{pool.id}:{listener.id}", *condition)
