"""The drills: who sends how much when, what goes wrong, and what is asked of the proxy."""

from dataclasses import dataclass, field
from typing import Callable

CRITICAL, DEFAULT, SHEDDABLE = "critical", "default", "sheddable"
# Where service itself takes long, a quarter of a second would ask for luck.
PATIENT = {"patience_ms": 1000, "slo_ms": 500}


@dataclass
class Stream:
    """A kind of request. A good answer is a 2xx within `slo_ms` of when the request was due."""

    name: str
    priority: str = DEFAULT
    tenants: int = 10
    retries: int = 0
    patience_ms: int = 500
    slo_ms: int = 250
    method: str = "GET"

    def line(self):
        return (
            f"stream name={self.name} tenant={self.name}- tenants={self.tenants} path=/drill"
            f" priority={self.priority} method={self.method} retries={self.retries}"
            f" patience_ms={self.patience_ms}\n"
        )


@dataclass
class Check:
    """One figure and what is asked of it."""

    what: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self):
        if self.value is None:
            return False
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.value <= self.at_most


@dataclass
class Scenario:
    """`phases`: seconds, then the rate of each stream as a share of the capacity, or (from, to)."""

    name: str
    title: str
    streams: list[Stream]
    phases: list[tuple]
    window: tuple[float, float]  # where shares and percentiles are taken
    judge: Callable  # (Outcome) -> [Check]
    events: Callable = lambda stage: []  # (seconds, what happens)
    # Share of the capacity that is there, by the second.
    capacity: Callable = lambda at: 1.0
    # The end of a fault, from which recovery is counted, and whose recovery.
    fault: tuple[float, float] | None = None
    victim: int | None = None  # the origin that is to be shunned
    attempts_in: tuple[float, float] | None = None  # where attempts are counted, if not there
    needs_baseline: bool = False
    polite: list[str] = field(default_factory=list)

    @property
    def seconds(self):
        return sum(phase[0] for phase in self.phases)

    def plan(self, capacity, seed):
        lines = [f"seed {seed}\nconnections 3000\n", *(stream.line() for stream in self.streams)]
        for seconds, *rates in self.phases:
            words = []
            for rate in rates:
                low, high = rate if isinstance(rate, tuple) else (rate, rate)
                words.append(f"{low * capacity:.1f}-{high * capacity:.1f}")
            lines.append(f"phase {seconds} {' '.join(words)}\n")
        return "".join(lines)

    def servable(self, window, due):
        """The share of the capacity that could have been used: what is there, what is asked for.

        `due` is the share that was asked for in the run at hand; chance moves it a little.
        """
        step = 0.05
        count = round((window[1] - window[0]) / step)
        times = [window[0] + (number + 0.5) * step for number in range(count)]
        luck = due * count / sum(self.offered(at) for at in times)
        return sum(min(self.offered(at) * luck, self.capacity(at)) for at in times) / count

    def offered(self, at):
        for seconds, *rates in self.phases:
            if at < seconds:
                pairs = [rate if isinstance(rate, tuple) else (rate, rate) for rate in rates]
                return sum(low + (high - low) * at / seconds for low, high in pairs)
            at -= seconds
        return 0.0


@dataclass
class Outcome:
    """The figures of one run that appear in the table."""

    critical: float | None = None
    polite: float | None = None
    every: float | None = None
    goodput: float | None = None
    p99: float | None = None
    refusal: float | None = None
    shunned: float | None = None
    used: float | None = None
    recovery: float | None = None
    attempts: float | None = None
    baseline_p99: float | None = None


def _mix(**more):
    return [
        Stream("critical", CRITICAL, **more),
        Stream("default", DEFAULT, **more),
        Stream("sheddable", SHEDDABLE, **more),
    ]


def _set(seconds, who, **settings):
    return (seconds, lambda: [origin.set(**settings) for origin in who])


def _goodput(o, limit=95):
    return Check("goodput %", o.goodput, at_least=limit)


def _critical(o):
    return Check("critical ok %", o.critical, at_least=99.9)


def _polite(o):
    return Check("polite ok %", o.polite, at_least=99.9)


def _recovery(o, limit=5):
    return Check("recovery s", o.recovery, at_most=limit)


def _attempts(o):
    return Check("attempts/request", o.attempts, at_most=1.12)


def _overload():
    return Scenario(
        "O1",
        "twice the capacity, one class",
        [Stream("all", tenants=20)],
        [(5, 0.7), (15, 2.0)],
        (5, 20),
        lambda o: [_goodput(o), Check("p99 ms", o.p99, at_most=250)],
    )


def _surge():
    return Scenario(
        "O2",
        "a surge of sheddable requests",
        [Stream("critical", CRITICAL), Stream("sheddable", SHEDDABLE)],
        [(5, 0.3, 0.1), (3, 0.3, (0.1, 1.2)), (12, 0.3, 1.2), (3, 0.3, 0.1)],
        (5, 23),
        lambda o: [_critical(o), _goodput(o)],
    )


def _neighbour():
    # Four and five tenants of 7.5 % each; the tenth sends ten times as much.
    streams = [
        Stream("polite", tenants=4),
        Stream("leaving", tenants=5),
        Stream("noisy", tenants=1),
    ]
    return Scenario(
        "O3",
        "a noisy neighbour; then five tenants leave",
        streams,
        [(5, 0.3, 0.375, 0.075), (10, 0.3, 0.375, 0.75), (8, 0.3, 0, 0.75)],
        (5, 23),
        lambda o: [_polite(o), _goodput(o)],
        polite=["polite", "leaving"],
    )


def _stall():
    def events(stage):
        return [
            (5, lambda: [origin.pause() for origin in stage.origins]),
            (8, lambda: [origin.go_on() for origin in stage.origins]),
        ]

    return Scenario(
        "O4",
        "all endpoints stall for 3 s, clients retry 3 times at once",
        [Stream("critical", CRITICAL, retries=3), Stream("default", DEFAULT, retries=3)],
        [(22, 0.14, 0.56)],
        (13, 22),
        lambda o: [_recovery(o), _critical(o), Check("attempts/request", o.attempts, at_most=1.1)],
        events,
        fault=(5, 8),
        attempts_in=(5, 22),
    )


def _failing(name, title, rate, settings, undo):
    return Scenario(
        name,
        title,
        [Stream("all", patience_ms=4000)],
        [(4, rate), (8, rate), (12, rate)],
        (4, 12),
        lambda o: [_attempts(o), _recovery(o, 10)],
        lambda stage: [_set(4, stage.origins, **settings), _set(12, stage.origins, **undo)],
        capacity=lambda at: 0.0 if 4 <= at < 12 else 1.0,
        fault=(4, 12),
        attempts_in=(4, 12),
    )


def _one_bad(name, title, settings, judge, rate=0.6, left=0.75, **more):
    return Scenario(
        name,
        title,
        [Stream("all", **PATIENT), Stream("posts", method="POST", **PATIENT)],
        [(5, rate * 0.9, rate * 0.1), (15, rate * 0.9, rate * 0.1)],
        (5, 20),
        judge,
        lambda stage: [_set(5, stage.origins[:1], **settings)],
        capacity=lambda at: left if at >= 5 else 1.0,
        fault=(5, 20),
        victim=0,
        **more,
    )


def _slow():
    def judge(o):
        below = 100 * (1 - o.p99 / o.baseline_p99) if o.p99 and o.baseline_p99 else None
        return [
            Check("p99 below round robin %", below, at_least=70),
            Check("shunned s", o.shunned, at_most=1),
            Check("all ok %", o.every, at_least=99.9),
        ]

    settings = {"service_time": "200ms"}
    return _one_bad("O6a", "one endpoint 20 times slower", settings, judge, needs_baseline=True)


def _half_errors():
    def judge(o):
        return [Check("all ok %", o.every, at_least=99.8)]

    return _one_bad("O6b", "one endpoint answers half with 500", {"fail_percent": 50}, judge)


def _sinkhole():
    def judge(o):
        return [Check("all ok %", o.every, at_least=99.9), Check("shunned s", o.shunned, at_most=1)]

    settings = {"fail_percent": 100, "service_time": "1ms"}
    return _one_bad("O6c", "one endpoint answers 500 at once", settings, judge)


def _uneven():
    # Two endpoints at 0.45 of their speed: 72.5 % of the capacity is left.
    left = (2 + 2 * 0.45) / 4

    return Scenario(
        "O7",
        "half of the endpoints at 0.45 of their speed, load up to 1.3 of what is left",
        [Stream("all", tenants=20)],
        [(4, 0.4), (5, 0.75 * left), (5, 0.95 * left), (6, 1.3 * left)],
        (4, 20),
        lambda o: [_goodput(o), Check("p99 ms", o.p99, at_most=250)],
        lambda stage: [_set(2, stage.origins[:2], service_time="22.2ms")],
        capacity=lambda at: left if at >= 2 else 1.0,
    )


def _checkout():
    return Scenario(
        "O8",
        "ramp to 0.95, a spike of 1.5, then 0.8 (no cache)",
        _mix(),
        [
            (8, (0.09, 0.285), (0.15, 0.475), (0.06, 0.19)),
            (7, 0.45, 0.75, 0.3),
            (7, 0.24, 0.4, 0.16),
        ],
        (8, 22),
        lambda o: [_critical(o), _goodput(o), _recovery(o, 0.5)],
        fault=(8, 15),
    )


def _flood():
    return Scenario(
        "flood",
        "one tenant sends twice the capacity",
        [Stream("polite", tenants=9), Stream("flood", tenants=1)],
        [(4, 0.4, 0.05), (12, 0.4, 2.0), (4, 0.4, 0.05)],
        (4, 20),
        lambda o: [_polite(o), _goodput(o)],
        polite=["polite"],
    )


def _death():
    def events(stage):
        victim = stage.origins[0]
        return [(5, victim.kill), (12, victim.start)]

    return Scenario(
        "death",
        "one endpoint dies and returns after 7 s",
        [Stream("all"), Stream("posts", method="POST")],
        [(20, 0.54, 0.06)],
        (5, 20),
        lambda o: [
            Check("all ok %", o.every, at_least=99.9),
            Check("shunned s", o.shunned, at_most=1),
            Check("used again s", o.used, at_most=5),
        ],
        events,
        capacity=lambda at: 0.75 if 5 <= at < 12 else 1.0,
        fault=(5, 12),
        victim=0,
    )


def _brownout():
    return Scenario(
        "brownout",
        "all endpoints 4 times slower for 10 s, clients retry 3 times at once",
        [
            Stream("critical", CRITICAL, retries=3, **PATIENT),
            Stream("default", DEFAULT, retries=3, **PATIENT),
        ],
        [(25, 0.14, 0.56)],
        (5, 25),
        lambda o: [_critical(o), _recovery(o)],
        lambda stage: [
            _set(5, stage.origins, service_time="40ms"),
            _set(15, stage.origins, service_time="10ms"),
        ],
        capacity=lambda at: 0.25 if 5 <= at < 15 else 1.0,
        fault=(5, 15),
    )


def _healthy():
    return Scenario(
        "healthy",
        "nothing goes wrong at 80 %",
        _mix(),
        [(20, 0.24, 0.4, 0.16)],
        (2, 20),
        lambda o: [Check("all ok %", o.every, at_least=99.99), _critical(o)],
    )


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        _healthy(),
        _overload(),
        _surge(),
        _neighbour(),
        _stall(),
        _failing(
            "O5a",
            "everything fails in 2 ms",
            0.5,
            {"status": 503, "service_time": "2ms"},
            {"status": 0, "service_time": "10ms"},
        ),
        _failing(
            "O5b", "nothing answers in time (1 s a try)", 0.1, {"delay": "10s"}, {"delay": "0ms"}
        ),
        _failing(
            "O5c",
            "everything fails in 2 ms, 50 requests a second",
            50 / 2400,
            {"status": 503, "service_time": "2ms"},
            {"status": 0, "service_time": "10ms"},
        ),
        _slow(),
        _half_errors(),
        _sinkhole(),
        _uneven(),
        _checkout(),
        _flood(),
        _death(),
        _brownout(),
    )
}
