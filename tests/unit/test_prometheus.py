# SPDX-License-Identifier: Apache-2.0
"""haproxy's metrics in Octavia's names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from amphora_agent import prometheus
from amphora_agent.errors import ParseError

GOLDEN = Path(__file__).resolve().parents[1] / "golden/metrics"
CAPTURED = sorted(GOLDEN.glob("haproxy-*.txt"))
SOME = CAPTURED[0].read_bytes()
LISTENER = "11111111-1111-4111-8111-111111111111"

# What the exporter of haproxy 2.6 has besides, and Octavia's guide has no name for.
WITHOUT_A_NAME = """
    backend_agg_check_status backend_agg_server_check_status backend_agg_server_status
    backend_internal_errors_total backend_uweight backend_weight frontend_internal_errors_total
    process_active_peers process_build_info process_busy_polling_enabled process_bytes_out_rate
    process_bytes_out_total process_connected_peers process_current_run_queue
    process_current_tasks process_current_zlib_memory process_failed_resolutions
    process_hard_max_connections process_idle_time_percent process_jobs process_max_fds
    process_max_memory_bytes process_max_pipes process_max_sockets process_max_zlib_memory
    process_nbproc process_nbthread process_pipes_free_total process_pipes_used_total
    process_recv_logs_total process_relative_process_id process_spliced_bytes_out_total
    process_start_time_seconds process_stopping process_unstoppable_jobs process_uptime_seconds
    server_check_code server_check_duration_seconds server_check_status
    server_internal_errors_total server_need_connections_current
    server_safe_idle_connections_current server_unsafe_idle_connections_current
    server_used_connections_current server_uweight
"""
NEW_IN_3_0 = "server_active server_backup"


def translated(text: bytes) -> str:
    return b"".join(prometheus.translate([text])).decode()


def named_in(text: bytes) -> set[str]:
    """Names that have a HELP line."""
    lines = text.decode().splitlines()
    return {line.split(" ")[2] for line in lines if line.startswith("# HELP ")}


def names(suffixes: str) -> set[str]:
    return {f"haproxy_{suffix}" for suffix in suffixes.split()}


def test_table_has_every_name_that_octavia_promises() -> None:
    """142 metrics have a name of Octavia, 31 of the process, 27, 44 and 40 of the others."""
    new = [rule.new.decode() for rule in prometheus.RULES.values()]

    assert len(set(new)) == len(new) == 142
    kinds = [name.removeprefix("octavia_").partition("_")[0] for name in new]
    assert [kinds.count(kind) for kind in ("listener", "pool", "member")] == [27, 44, 40]
    assert kinds.count("loadbalancer") + kinds.count("memory") == 31


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("haproxy_process_requests_total", "octavia_loadbalancer_requests_total"),
        ("haproxy_process_pool_used_bytes", "octavia_memory_pool_used_bytes"),
        ("haproxy_frontend_status", "octavia_listener_status"),
        ("haproxy_backend_active_servers", "octavia_pool_active_members"),
        ("haproxy_backend_server_aborts_total", "octavia_pool_member_aborts_total"),
        ("haproxy_server_server_aborts_total", "octavia_member_server_aborts_total"),
        ("haproxy_server_max_total_time_seconds", "octavia_member_max_total_time_seconds"),
    ],
)
def test_names_are_those_of_octavia(old: str, new: str) -> None:
    """A name swaps its beginning, except where Octavia has another word."""
    assert prometheus.RULES[old.encode()].new.decode() == new


@pytest.mark.parametrize("captured", CAPTURED, ids=lambda path: path.stem)
def test_nothing_of_haproxy_is_lost_silently(captured: Path) -> None:
    """haproxy has every metric of the table, and of the others each is one that is listed here."""
    there = named_in(captured.read_bytes())
    ours = {name.decode() for name in prometheus.RULES}

    assert ours - there == set()
    newer = names(NEW_IN_3_0) if captured.stem == "haproxy-3.0" else set()
    assert there - ours == names(WITHOUT_A_NAME) | newer


@pytest.mark.parametrize("captured", CAPTURED, ids=lambda path: path.stem)
def test_parser_of_prometheus_reads_all_of_it(captured: Path) -> None:
    """Each of the 142 metrics is one family with the type and the number of samples of before."""
    before = captured.read_text()
    families = {f.name: f for f in text_string_to_metric_families(translated(before.encode()))}

    assert len(families) == 142
    for rule in prometheus.RULES.values():
        old, new = rule.old.decode(), rule.new.decode()
        family = families[new.removesuffix("_total")]
        lines = [line for line in before.splitlines() if line.startswith((f"{old} ", f"{old}{{"))]
        outside = [line for line in lines if "prometheus-exporter" not in line]
        assert [float(line.rpartition(" ")[2]) for line in outside] == pytest.approx(
            [sample.value for sample in family.samples], nan_ok=True
        )
        assert f"# TYPE {old} {family.type}\n" in before


def test_labels_are_those_of_octavia() -> None:
    """Frontends are listeners, backends pools, servers members; other labels stay."""
    text = translated(SOME)

    assert f'\noctavia_listener_status{{listener="{LISTENER}",state="UP"}} 1\n' in text
    assert f'\noctavia_pool_http_responses_total{{pool="p1:{LISTENER}",code="2xx"}} 0\n' in text
    assert f'\noctavia_member_status{{pool="p1:{LISTENER}",member="m1",state="UP"}} ' in text
    assert "proxy=" not in text
    assert "server=" not in text


def test_plumbing_of_octavia_is_left_out() -> None:
    """Frontends and backends that serve only the metrics are in haproxy's and not in ours."""
    assert b"prometheus-exporter-internal" in SOME
    assert "prometheus" not in translated(SOME)


def test_help_speaks_octavias_words() -> None:
    """A HELP text says listener, pool and member where haproxy says frontend, backend, server."""
    text = translated(SOME)
    helps = [line for line in text.splitlines() if line.startswith("# HELP ")]
    words = " ".join(line.split(" ", 3)[3] for line in helps).lower()

    assert not {word for word in ("frontend", "backend", "server") if word in words}
    assert "# HELP octavia_pool_max_queue_time_seconds Maximum observed time spent in the q" in text
    assert (
        "octavia_member_max_response_time_seconds Maximum observed time spent waiting for" in text
    )
    assert "octavia_pool_limit_sessions Listener/member's maxconn, pool's fullconn" in text


@given(st.lists(st.integers(min_value=1, max_value=4000), min_size=1, max_size=60))
def test_cuts_between_pieces_do_not_matter(sizes: list[int]) -> None:
    """However the exposition is cut, the translation is the same."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(SOME[start : start + size])
        start += size
    pieces.append(SOME[start:])

    assert b"".join(prometheus.translate(pieces)).decode() == translated(SOME)


def test_last_line_without_an_end_is_a_line() -> None:
    """A line feed is supplied."""
    text = b"# HELP haproxy_process_listeners l\n# TYPE haproxy_process_listeners gauge\n"

    assert translated(text + b"haproxy_process_listeners 3").endswith(
        "\noctavia_loadbalancer_listeners 3\n"
    )


def test_value_of_a_label_is_not_translated() -> None:
    """Text of haproxy's notation inside a value stays as it is."""
    value = rb"x\",server=\"y\nhaproxy_server_weight{proxy=\"z\"}"
    text = (
        b'# HELP haproxy_server_weight w\nhaproxy_server_weight{proxy="%s",server="m"} 1\n' % value
    )

    assert translated(text).encode().splitlines()[1] == (
        b'octavia_member_weight{pool="%s",member="m"} 1' % value
    )


def test_sample_of_another_metric_is_dropped() -> None:
    """What stands below the HELP line of another metric is not passed on under haproxy's name."""
    text = (
        b"# HELP haproxy_server_weight w\n"
        b'haproxy_server_weight{proxy="p",server="m"} 1\n'
        b'haproxy_server_weight_x{proxy="p",server="m"} 1\n'
    )

    assert translated(text) == (
        '# HELP octavia_member_weight w\noctavia_member_weight{pool="p",member="m"} 1\n'
    )


def test_line_without_end_is_refused() -> None:
    """What is not text in lines does not fill the memory."""
    endless = (b"x" * 4096 for _ in range(1000))

    with pytest.raises(ParseError, match="not lines of text"):
        list(prometheus.translate(endless))


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_noise_never_surprises(pieces: list[bytes]) -> None:
    """Any bytes give bytes without a name of haproxy at the beginning of a line."""
    text = b"\n" + b"".join(prometheus.translate([SOME[:500], *pieces, b"\n"]))

    assert b"\nhaproxy_" not in text


def test_machine_tells_percents() -> None:
    """Load counts against the number of CPUs, and memory that can be had is free."""
    state = prometheus.Machine(load=0.25, cpus=2, memory_total_kb=1000, memory_available_kb=874)
    families = {
        family.name: family.samples[0].value
        for family in text_string_to_metric_families(prometheus.machine(state).decode())
    }

    assert families == {"octavia_loadbalancer_cpu": 12.5, "octavia_loadbalancer_memory": 12.6}
