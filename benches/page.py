#!/usr/bin/env python3
"""page.py FOLDER: makes FOLDER/benchmarks.md and its plots of the figures in doc/benchmarks/*.json."""

import json, pathlib, statistics, sys

PROJECT = pathlib.Path(__file__).resolve().parent.parent
OUTPUT = pathlib.Path(sys.argv[1])

# name: (label, rules, event in the transaction, notifies, reader that misses nothing)
VARIANTS = {
    "ours": ("customer_db", "yes", "yes", "by a worker", "yes"),
    "ours_transaction": ("customer_db, notify = transaction", "yes", "yes", "yes", "yes"),
    "bare": ("bare table", "no", "no", "no", "no"),
    "tcn": ("bare table, moddatetime, tcn", "no", "no", "yes", "no"),
    "outbox": ("bare table, outbox by a trigger", "no", "yes", "no", "yes"),
    "message_db": ("bare table, message-db", "no", "yes", "no", "yes: writers take turns"),
    "graphile_worker": ("bare table, graphile-worker", "no", "a job", "yes", "each job has one"),
    "plpgsql": ("PL/pgSQL", "yes, simplified", "yes", "no", "no"),
    "plpgsql_notify": ("PL/pgSQL, pg_notify", "yes, simplified", "yes", "yes", "no"),
}
LABELS = {name: variant[0] for name, variant in VARIANTS.items()} | {
    "outbox_by_id": "outbox by id: misses events",
    "without_fast_path": "registering by an INSERT statement",
    "without_event_writer": "recording events by an INSERT statement",
    "undefended": "register_customer without SECURITY DEFINER and search_path",
    "contexts": "PostgreSQL's memory contexts",
    "private": "private memory of the process",
}
ORDER = list(LABELS)


class Run:
    """What one command has measured."""

    def __init__(self, name, command):
        self.command = command
        file = PROJECT / f"doc/benchmarks/{name}.json"
        data = json.loads(file.read_text()) if file.exists() else {"about": None, "figures": []}
        self.about, self.figures = data["about"], data["figures"]

    def select(self, workload, **keys):
        found = [f for f in self.figures if f["workload"] == workload and all(f[k] == v for k, v in keys.items())]
        return sorted(found, key=lambda f: ORDER.index(f["variant"]))


def median(figure):
    return statistics.median(figure["values"])


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(figure):
    text = number(median(figure))
    if len(figure["values"]) == 1:
        return text
    return f"{text} ({number(min(figure['values']))}–{number(max(figure['values']))})"


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def columns(figures, key, head):
    """A row for each variant, a column for each value of the key."""
    values = sorted({f[key] for f in figures})
    variants = sorted({f["variant"] for f in figures}, key=ORDER.index)
    cell = {(f["variant"], f[key]): spread(f) for f in figures}
    rows = [[LABELS[v], *(cell.get((v, value), "") for value in values)] for v in variants]
    return table(["", *(head(value) for value in values)], rows)


def clients(count):
    return "1 client" if count == 1 else f"{count} clients"


def verdict(figures, more_is_better=True):
    """Who is ahead of customer_db, who is not, and where the rounds do not tell."""
    ours = next(f for f in figures if f["variant"] == "ours")
    ahead, even, behind = [], [], []
    for figure in figures:
        if figure["variant"].startswith("ours"):
            continue
        ratio = median(figure) / median(ours)
        ratio = ratio if more_is_better else 1 / ratio
        overlap = min(figure["values"]) <= max(ours["values"]) and min(ours["values"]) <= max(figure["values"])
        text = f"{LABELS[figure['variant']]} ({ratio:.2f})"
        (even if overlap else ahead if ratio > 1 else behind).append(text)
    parts = [("**Ahead of customer_db**", ahead), ("No difference beyond the spread", even), ("Behind", behind)]
    return "; ".join(f"{head}: {', '.join(names)}" for head, names in parts if names) + "."


STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 14px } .quiet { fill: #59636e }
.bar { fill: #8c959f } .ours { fill: #0969da } .line { stroke: #59636e; stroke-width: 1.5; fill: none } .spread { stroke: #1f2328; stroke-width: 1.5 }
.ourline { stroke: #0969da; stroke-width: 2.5; fill: none } .grid { stroke: #d1d9e0; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .quiet { fill: #9198a1 } .bar { fill: #656c76 } .ours { fill: #4493f8 } .line { stroke: #9198a1 }
.spread { stroke: #f0f6fc } .ourline { stroke: #4493f8 } .grid { stroke: #3d444d }
}
</style>"""


def svg(name, title, width, height, body):
    text = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{title}">
{STYLE}
<text class="title" x="0" y="16">{title}</text>
{chr(10).join(body)}
</svg>
"""
    (OUTPUT / "benchmarks").mkdir(exist_ok=True)
    (OUTPUT / f"benchmarks/{name}.svg").write_text(text)
    return f"![{title}](benchmarks/{name}.svg)"


def bars(name, title, figures, least_first=False):
    """Horizontal bars from zero, the median at their ends, a line from the lowest round to the highest."""
    left, length, row = 236, 380, 26
    scale = length / max(max(f["values"]) for f in figures)
    best_first = sorted(figures, key=median, reverse=not least_first)
    body = []
    for i, figure in enumerate(best_first):
        y = 34 + i * row
        low, high, end = (left + scale * v for v in (min(figure["values"]), max(figure["values"]), median(figure)))
        kind = "ours" if figure["variant"].startswith("ours") else "bar"
        body += [
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{LABELS[figure["variant"]]}</text>',
            f'<rect class="{kind}" x="{left}" y="{y}" width="{end - left:.1f}" height="18" rx="2"/>',
            f'<path class="spread" d="M{low:.1f} {y + 9}H{high:.1f}M{low:.1f} {y + 5}v8M{high:.1f} {y + 5}v8"/>',
            f'<text x="{max(high, end) + 8:.1f}" y="{y + 13}">{number(median(figure))}</text>',
        ]
    foot = 34 + len(figures) * row
    body.append(f'<text class="quiet" x="{left}" y="{foot + 14}">Bars begin at zero: the median; the line from lowest to highest round.</text>')
    return svg(name, title, 700, foot + 24, body)


def lines(name, title, figures):
    """A line for each variant over the number of customers, in powers of ten; the other axis begins at zero."""
    sizes = sorted({f["customers"] for f in figures})
    left, top, width, height = 70, 40, 420, 200
    x = lambda size: left + width * sizes.index(size) / (len(sizes) - 1)
    most = max(max(f["values"]) for f in figures)
    y = lambda value: top + height * (1 - value / most)
    step = 10 ** (len(str(int(most))) - 1)
    step = next(s for s in (step, 2 * step, 5 * step) if most / s < 6) if most / step >= 3 else step / 2
    body = []
    for i in range(int(most / step) + 1):
        body.append(f'<path class="grid" d="M{left} {y(i * step):.1f}h{width}"/>')
        body.append(f'<text class="quiet" x="{left - 8}" y="{y(i * step) + 4:.1f}" text-anchor="end">{i * step:,.0f}</text>')
    for size in sizes:
        body.append(f'<text class="quiet" x="{x(size):.1f}" y="{top + height + 20}" text-anchor="middle">{size:,}</text>')
    ends = []
    body.append(f'<text class="quiet" x="{left}" y="{top + height + 40}">customers, each step ten times as many; vertical lines: lowest to highest round</text>')
    for variant in sorted({f["variant"] for f in figures}, key=ORDER.index):
        found = [f for f in figures if f["variant"] == variant]
        points = "L".join(f"{x(f['customers']):.1f} {y(median(f)):.1f}" for f in sorted(found, key=lambda f: f["customers"]))
        body.append(f'<path class="{"ourline" if variant == "ours" else "line"}" d="M{points}"/>')
        for f in found:
            body.append(f'<path class="spread" d="M{x(f["customers"]):.1f} {y(min(f["values"])):.1f}V{y(max(f["values"])):.1f}"/>')
        last = max(found, key=lambda f: f["customers"])
        ends.append((y(median(last)) + 4, LABELS[variant]))
    place = 0
    for end, label in sorted(ends):
        place = max(end, place + 15)
        body.append(f'<text x="{left + width + 10}" y="{place:.1f}">{label}</text>')
    return svg(name, title, 640, top + height + 50, body)


def conditions(run):
    about = run.about
    busy = ""
    if about["busy_percent"] > 10:
        busy = (f"\n\n**Other programs used {about['busy_percent']} % of the processors: these figures are not to be relied on."
                f" Run `{run.command}` on a machine that does nothing else.**")
    skipped = "".join(f"\n\nSKIPPED: {why}." for why in about["skipped"])
    settings = ", ".join(f"`{setting}`" for setting in about["settings"])
    return (f"Measured on {about['date']} by `{run.command}` in {about['minutes']} minutes: {about['cpu']}, {about['cores']} cores,"
            f" {about['memory_gb']} GB, {about['system']}; PostgreSQL {about['postgresql']}, customer_db {about['customer_db']},"
            f" message-db {about['message_db']}, graphile-worker {about['graphile_worker']}. Clients and server share the machine."
            f" {settings}; nothing else is set. {about['customers']:,} customers to begin with; medians of {about['rounds']} rounds, in which"
            f" the variants take turns, each time for {about['seconds']} seconds by pgbench, in which its sessions begin and fill their caches (lowest–highest).{busy}{skipped}")


def commands(run, figures):
    """The command of each figure, once."""
    found = {f["command"].replace(f"-c {f['clients']} ", "-c CLIENTS " if len({g["clients"] for g in figures}) > 1 else f"-c {f['clients']} ") for f in figures}
    found.discard(run.command)
    runs = ", ".join(f"`{c}`" if c.startswith(("pg", "PG")) else c for c in sorted(found))
    return f"Command: `{run.command}`" + (f", which runs {runs}." if runs else ".")


def traffic(run, title, workload, text, plot=None):
    figures = run.select(workload)
    if not figures:
        return []
    parts = [f"### {title}", text]
    if plot:
        parts.append(bars(plot[0], plot[1], run.select(workload, clients=16)))
    parts.append(columns(figures, "clients", clients))
    for count in sorted({f["clients"] for f in figures}):
        parts.append(f"{clients(count)}: {verdict(run.select(workload, clients=count))}")
    return [*parts, commands(run, figures)]


def timed(run, title, workload, text, scale=1):
    figures = [f | {"values": [v * scale for v in f["values"]]} for f in run.select(workload)]
    if not figures:
        return []
    rows = [[LABELS[f["variant"]], spread(f)] for f in figures]
    return [f"### {title}", text, table(["", "microseconds" if scale > 1 else "seconds"], rows), verdict(figures, False), commands(run, figures)]


def reading(run, workload, *text):
    figures = run.select(workload)
    if not figures:
        return []
    rows = [[LABELS[f["variant"]], spread(f)] for f in figures]
    return [*text, table(["", "events a second"], rows), verdict(figures), commands(run, figures)]


def switched_off(run):
    parts = []
    for count in sorted({f["clients"] for f in run.select("parts")}):
        figures = run.select("parts", clients=count)
        ours = next(f for f in figures if f["variant"] == "ours")
        rows = []
        for figure in figures:
            ratios = {"values": [a / b for a, b in zip(ours["values"], figure["values"])]}
            rows.append([LABELS[figure["variant"]], spread(figure), "" if figure is ours else spread(ratios)])
        parts += [table([f"{clients(count)}", "registrations a second", "customer_db, of it"], rows), commands(run, figures)]
    return parts


def quick(run):
    catching_up, writing = run.select("catch_up"), "A registration is an INSERT with a new address, and what the variant adds to it, in a transaction of its own."
    median_delay, late = run.select("notification_median"), run.select("notification_99")
    return [
        "## By `make bench`",
        conditions(run),
        *traffic(run, "Registering", "register", writing, ("register", "Registrations a second, 16 clients")),
        *traffic(run, "Changing a name", "update", "A customer at random; the version is counted.", ("update", "Changes of a name a second, 16 clients")),
        *traffic(run, "Changing the status", "set_status", "A customer at random, from ACTIVE to SUSPENDED or back. In customer_db and PL/pgSQL the statement reads the status first: one look-up more."),
        *traffic(run, "Reading by id", "get", "get_customer, and a SELECT by primary key."),
        *traffic(run, "Finding an address", "find", "find_customer, which takes any spelling, and a SELECT by lower()."),
        *traffic(run, "Nine reads to one change", "mixed", "90 % by id, 10 % changes of a name."),
        *timed(run, "200,000 customers by INSERT … SELECT", "bulk", "One statement, one transaction."),
        *timed(run, "200,000 customers by import_customers", "import", "20 calls of 10,000, against an INSERT from jsonb_to_recordset, which refuses all for one bad row."),
        *timed(run, "One registration inside the server", "one_session", "10,000 calls in a loop in PL/pgSQL, one transaction: without client and commit.", 100),
        "### Catching up with the feed",
        *reading(
            run, "catch_up",
            f"A client reads {run.about['customers']:,} events from the beginning, 1000 at a time, and parses them. customer_db, the outbox with"
            " its horizon of transaction ids and message-db miss no event; reading an outbox by its id misses those that commit late.",
            bars("catch_up", "Events a second, one reader that catches up", catching_up),
        ),
        *reading(run, "catch_up_psycopg", "Through psycopg, each document parsed from its text; the start of Python included:"),
        *reading(run, "catch_up_in_server", "In the server, without a client:"),
        "### From a commit to its notification",
        "1,000 registrations a second by 4 writers; from the writer's answer to the arrival at a listener, in milliseconds. A"
        " notification that arrives before the writer's answer took no time: with NOTIFY in the transaction, what it costs is in the commit.",
        bars("notification", "Milliseconds from a commit to its notification, 99 % of them", late, least_first=True),
        table(["", "median", "99 %"], [[LABELS[a["variant"]], spread(a), spread(b)] for a, b in zip(median_delay, late)]),
        f"99 %: {verdict(late, False)}",
        commands(run, median_delay),
        "### What parts of customer_db cost",
        "The same registrations with one part switched off ([ARCHITECTURE.md](../ARCHITECTURE.md), Bypasses of PostgreSQL's machinery), and the bare table."
        " Commits do not wait for the disk here, so that the processor is what limits all of them.",
        *switched_off(run),
    ]


def growing(run):
    fills = run.select("growth: fill")
    parts = ["### Growth", "Each database filled to the size, then 16 clients. Reads and changes are of customers at random.",
             "Seconds of the INSERT … SELECT that fills it from one size to the next:",
             columns(fills, "customers", lambda size: f"to {size:,}"), commands(run, fills),
             lines("growth", "Registrations a second, 16 clients, as customers grow", run.select("growth: register"))]
    for workload, title in [("register", "registrations"), ("get", "reads by id"), ("mixed", "nine reads to one change"), ("page", "pages of 100 in the order of ids")]:
        figures = run.select(f"growth: {workload}")
        parts += [f"A second, {title}:", columns(figures, "customers", lambda size: f"{size:,} customers"), commands(run, figures)]
    sizes = [f for workload in ("customers", "events") for f in run.select(f"growth: {workload}")]
    parts.append(table(["octets, with indexes", *(f"{f['customers']:,} customers" for f in run.select("growth: customers"))],
                       [[what, *(number(f["values"][0]) for f in run.select(f"growth: {what}"))] for what in ("customers", "events")]))
    dump, restore = run.select("pg_dump")[0], run.select("pg_restore")[0]
    parts.append(f"`{dump['command']}` of {dump['customers']:,} customers and their events takes {number(median(dump))} seconds,"
                 f" `{restore['command']}` {number(median(restore))}.")
    return parts


def full(run):
    if not run.about:
        return ["## By `make bench-full`", "Not run yet: growth to 10,000,000 customers, changes by 1 and 64 clients, memory of a session."]
    names = dict.fromkeys(f["workload"] for f in run.figures if f["workload"].startswith("memory: "))
    memory = [[name.removeprefix("memory: "), *(number(median(f)) for f in run.select(name))] for name in names]
    return [
        "## By `make bench-full`",
        conditions(run),
        *traffic(run, "Changing a name, with other numbers of clients", "update", "As above."),
        *traffic(run, "Changing the status, with other numbers of clients", "set_status", "As above."),
        "### What parts of customer_db cost, with 64 clients",
        *switched_off(run),
        "### Memory of a session",
        table(["kB after registering", *(LABELS[f["variant"]] for f in run.select(next(iter(names))))], memory),
        *growing(run),
    ]


def page():
    bench, everything = Run("bench", "make bench"), Run("full", "make bench-full")
    rows = [[VARIANTS[name][0], *VARIANTS[name][1:], f"[{name}.sql](../benches/variants/{name}.sql)"] for name in VARIANTS]
    return [
        "# Benchmarks",
        "customer_db beside what people would use instead of it. Made by `benches/page.py` of the figures in [benchmarks/](benchmarks/); do not"
        " edit. `make bench` measures the first part anew, `make bench-full` both, in one run on one cluster. Read the ratios: rates differ"
        " between machines, above all with the time that the disk takes for an fsync. A number in brackets after a variant's name is"
        " its speed as a multiple of customer_db's with notify = worker.",
        "## What is compared",
        "Each has a database of its own, with the same columns and indexes of customers and the same durability, and pays only for what it does:",
        table(["", "rules", "an event in the transaction", "notification", "a reader that misses nothing", "script"], rows),
        "PL/pgSQL's rules are simpler: no Unicode version of its own, no internationalised domains, no error that hides values.",
        *quick(bench),
        *full(everything),
    ]


(OUTPUT / "benchmarks.md").write_text("\n\n".join(page()) + "\n")
