"""What the example lake talks about: the logs of a team that builds *Kerbside*.

Kerbside is an invented product: it helps small towns to plan street works (permits, fees,
closures, notices to residents). People, firms, streets and models are invented too. Only
tables stand here; `demo_rows` chooses from them.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Module(NamedTuple):
    """A file of the product: what it does, what reviews find there, and a patch to it."""

    path: str
    job: str
    findings: tuple[str, ...]
    blunder: str
    before: str
    after: str
    broken: str


MODULES: Final = (
    Module(
        "kerbside/permits/intake.py",
        "turns an applicant's form into a permit draft",
        (
            "`parse_form` accepts an end date before the start date; the PRD asks for a refusal "
            "that names both fields.",
            "The depth of the trench is read as centimetres here and as metres in `validate.py`, "
            "so a 1.2 m trench is checked as 1.2 cm.",
            "An upload without a file name raises `KeyError` instead of being listed as missing.",
            "The draft keeps the applicant's phone number in the audit log, which the PRD forbids.",
        ),
        "The whole form should be stored as one text column, because columns are slow.",
        "    if not form.end:",
        "    if not form.end or form.end < form.start:",
        "    if not form.end or form.end > form.start:",
    ),
    Module(
        "kerbside/fees/tariff.py",
        "computes what a contractor pays for the space and the days",
        (
            "The discount for more than ten days is applied to all days; the tariff grants it from "
            "the eleventh day on.",
            "`round()` rounds half to even, so 12.345 becomes 12.34; the bylaw rounds half up.",
            "A permit that is shortened keeps its old fee because `recompute` only runs on insert.",
            "Footway space is charged at the rate of a parking bay.",
        ),
        "Fees look right to me, all tests are green, nothing to add.",
        "    return round(amount, 2)",
        "    return amount.quantize(CENT, rounding=ROUND_HALF_UP)",
        "    return round(amount)",
    ),
    Module(
        "kerbside/calendar/closures.py",
        "keeps two closures from blocking the same detour",
        (
            "Overlap is tested with `<=` on both ends, so a closure that ends at noon collides "
            "with one that starts at noon.",
            "Detours are compared by name, and `Mill Lane` and `Mill Ln` count as different.",
            "The query loads the whole year for each permit; 3,100 rows where a week is enough.",
            "A cancelled closure still blocks its detour, since the status is never read.",
        ),
        "You should replace the overlap test by a neural model of traffic.",
        "        if a.start <= b.end and b.start <= a.end:",
        "        if a.start < b.end and b.start < a.end:",
        "        if a.start < b.end or b.start < a.end:",
    ),
    Module(
        "kerbside/notices/letters.py",
        "writes the letters that residents get before works start",
        (
            "The date is formatted with the server's locale, and the letter of 3 April said 04/03.",
            "Letters go out to every address of the street, not only to the closed section.",
            "The word for the works comes from the contractor's free text and is not escaped.",
            "Nothing prevents a second letter when the job is run again after a failure.",
        ),
        "`send_letters` is never called, delete it. (It is called by the nightly job.)",
        '    day = start.strftime("%x")',
        "    day = format_date(start, locale=resident.locale)",
        '    day = start.strftime("%d/%y")',
    ),
    Module(
        "kerbside/maps/geocode.py",
        "finds the stretch of street that an address range means",
        (
            "House numbers are compared as strings, so 100 sorts before 20.",
            "An address on the boundary of two sections is given to neither.",
            "The fallback to the street's centre is silent; the PRD wants it marked as uncertain.",
            "Coordinates are swapped when the provider answers in latitude-longitude order.",
        ),
        "The file does not exist in the repository, so there is nothing to review.",
        "    numbers.sort()",
        "    numbers.sort(key=house_number)",
        "    numbers.sort(key=len)",
    ),
    Module(
        "kerbside/auth/sessions.py",
        "signs clerks in and keeps them signed in",
        (
            "Each request renews the session without an upper limit; the PRD says 12 hours.",
            "`compare` stops at the first wrong character and so leaks the length of the match.",
            "Signing out clears the cookie but leaves the session in the table.",
            "A locked account gets another message than a wrong password, which tells it exists.",
        ),
        "Sessions are secure because they use random numbers.",
        "    return given == stored",
        "    return hmac.compare_digest(given, stored)",
        "    return given is stored",
    ),
    Module(
        "kerbside/reports/monthly.py",
        "sums up a month for the town council",
        (
            "Permits that span two months are counted in both; the council's table counts starts.",
            "An empty month divides by zero in the average.",
            "The CSV has a decimal point although the council's spreadsheet expects a comma.",
            "The report reads live tables and changes while it is printed; it should read the "
            "snapshot of the last day.",
        ),
        "Please add more comments, then it can be merged.",
        "    average = total / len(permits)",
        "    average = total / len(permits) if permits else ZERO",
        "    average = total / (len(permits) + 1)",
    ),
    Module(
        "kerbside/jobs/reminders.py",
        "reminds contractors of permits that are about to end",
        (
            "The job marks a reminder as sent before the mail server has taken it.",
            "Weekends are skipped, but the town's own holidays are not.",
            "A contractor with forty permits gets forty mails; the PRD asks for one a day.",
            "The retry waits a fixed second, so forty workers knock at the same moment.",
        ),
        "Use a `while True` loop without a pause, so that no reminder is ever late.",
        "    mark_sent(reminder)",
        "    if mailer.accepted(reminder):",
        "    mark_sent(None)",
    ),
    Module(
        "kerbside/api/permits.py",
        "lets partner systems read and change permits",
        (
            "`PATCH` on a permit that somebody else changed overwrites it; the PRD asks for 412.",
            "The list is cut at 100 without a cursor, and partners believe they have all.",
            "Errors come back as 200 with `ok: false`, which the partners' retries cannot see.",
            "The filter by street is case-sensitive, unlike the one on the website.",
        ),
        "Everything should be a GET request, it is easier to test.",
        "    permit.update(body)",
        "    permit.update(body, if_match=request.etag)",
        "    permit.replace(body or {})",
    ),
    Module(
        "kerbside/imports/registry.py",
        "reads the registry of contractors that the county sends each night",
        (
            "A line with one column too few shifts all the fields after it.",
            "Firms that left the registry stay active; the PRD wants them suspended.",
            "The file is read as Latin-1 although the county switched to UTF-8 in January.",
            "If the download stops half way, the first half is taken for the whole registry.",
        ),
        "Parsing by hand is fine since the county never changes its format.",
        '    text = raw.decode("latin-1")',
        '    text = raw.decode("utf-8")',
        '    text = raw.decode("ascii")',
    ),
)


LOOKED: Final = (
    "I read `{path}`, which {job}, beside its part of the PRD.",
    "`{path}` {job}. I went through the change, its tests and the PRD's section on it.",
    "Reviewed: `{path}` ({job}). I ran its tests before reading.",
)
FAIR_END: Final = (
    "I have not looked at the tests.",
    "There may be more; the second half of the file I only skimmed.",
    "Why it happens I cannot say from the diff alone.",
)


class Reading(NamedTuple):
    """A message from a resident, and what the desk should make of it."""

    message: str
    label: str
    wrong: str
    because: str


MESSAGES: Final = (
    Reading(
        "My driveway on {street} has been blocked since Tuesday and nobody rang the bell.",
        "complaint_access",
        "question_dates",
        "the resident cannot reach their own ground",
    ),
    Reading(
        "Until when is {street} closed? The sign is behind a tree.",
        "question_dates",
        "complaint_noise",
        "they ask for an end date and complain of nothing",
    ),
    Reading(
        "They drill on {street} at half past five. In the morning!",
        "complaint_noise",
        "praise",
        "work before seven breaks the noise rule",
    ),
    Reading(
        "The crew on {street} carried my mother's shopping over the trench. Please thank them.",
        "praise",
        "complaint_access",
        "it is thanks, although a trench is in the way",
    ),
    Reading(
        "There is a smell of gas near the pit on {street}.",
        "emergency",
        "question_dates",
        "a smell of gas goes to the emergency desk at once, whatever else is said",
    ),
    Reading(
        "The detour for {street} sends lorries through the school yard.",
        "complaint_detour",
        "praise",
        "the closure is accepted, the detour is the trouble",
    ),
)


class Query(NamedTuple):
    """A clerk's question, SQL that answers it, and SQL that does not."""

    question: str
    right: str
    wrong: str
    trap: str


QUERIES: Final = (
    Query(
        "How many permits on {street} were granted in {month}?",
        "select count(*) from permits\nwhere street = '{street}' and status = 'granted'\n"
        "  and granted_on >= '{first}' and granted_on < '{next}';",
        "select count(*) from permits\nwhere street = '{street}'\n"
        "  and created_on between '{first}' and '{next}';",
        "`between` would take in the first day of the next month",
    ),
    Query(
        "Which contractors have had no permit since {month}?",
        "select c.name from contractors c\nwhere not exists (\n  select 1 from permits p\n"
        "  where p.contractor_id = c.id and p.granted_on >= '{first}');",
        "select c.name from contractors c\njoin permits p on p.contractor_id = c.id\n"
        "where p.granted_on < '{first}';",
        "a join would leave out the firms that never had one",
    ),
    Query(
        "What was the average fee on {street} in {month}, without waived ones?",
        "select avg(fee_eur) from permits\nwhere street = '{street}' and not waived\n"
        "  and granted_on >= '{first}' and granted_on < '{next}';",
        "select sum(fee_eur) / count(*) from permits\nwhere street = '{street}'\n"
        "  and granted_on >= '{first}';",
        "waived permits carry a fee of 0 and would pull the mean down",
    ),
    Query(
        "List the closures of {month} that touch {street}, earliest first.",
        "select id, starts_on, ends_on from closures\nwhere street = '{street}'\n"
        "  and starts_on < '{next}' and ends_on >= '{first}'\norder by starts_on, id;",
        "select * from closures\nwhere street = '{street}' and starts_on >= '{first}';",
        "a closure that began before the month still touches it",
    ),
)

STREETS: Final = (
    "Mill Lane", "Harbour Road", "Station Street", "Chapel Hill", "Weir Street", "Tanner's Row",
    "Orchard Way", "Lower Quay", "Bell Yard", "Castle Gate", "Fuller's Walk", "Northgate",
    "Ropery Lane", "St Brannoc's Square", "Peña Street", "Canal Side",
)  # fmt: skip
CONTRACTORS: Final = (
    "Harrow & Pike Groundworks", "Ostrava Cable Crews", "Bluestone Civil", "Marlow Water Mains",
    "Fenwick Brothers", "Lindqvist Paving", "Delta Trenchless", "Avonmere Utilities",
)  # fmt: skip
WORKS: Final = (
    "a new water main", "fibre ducts", "a district heating pipe", "two tree pits",
    "a dropped kerb", "the repair of a collapsed sewer", "a bus shelter", "charging points",
)  # fmt: skip
RESIDENTS: Final = (
    "Mrs Adeyemi", "Mr Kowalczyk", "Ms Duarte", "Mr Lindgren", "Mrs Papadaki", "Mr O'Rourke",
    "Ms Hashimoto", "Mr Benali",
)  # fmt: skip
MONTHS: Final = (
    ("January", "2026-01-01", "2026-02-01"),
    ("February", "2026-02-01", "2026-03-01"),
    ("October 2025", "2025-10-01", "2025-11-01"),
    ("November 2025", "2025-11-01", "2025-12-01"),
    ("December 2025", "2025-12-01", "2026-01-01"),
)
CONDITIONS: Final = (
    "The traffic plan keeps one lane open and shows the signs to scale.",
    "Insurance is valid until {year} and covers damage to buried cables.",
    "The footway stays at least 1.5 m wide, so wheelchairs and prams can pass.",
    "Working hours are 07:00 to 18:00, which fits the noise rule.",
    "Waste collection on Thursdays is kept up through the rear access.",
    "The bus operator has agreed to move the stop by 60 m for the time of the works.",
    "The surface is to be restored in granite setts, as the conservation area demands.",
    "Emergency access is guaranteed by steel plates within ten minutes.",
)
GAPS: Final = (
    ("missing_traffic_plan", "There is no traffic plan for the lane it takes.", "traffic plan"),
    ("insurance_expired", "The insurance ran out before the first day of work.", "Insurance"),
    ("depth_unstated", "The depth of the trench is not stated.", "granite"),
    ("overlaps_closure", "The dates overlap with a closure of the only detour.", "one lane"),
)
"""What may be amiss: its marker, in words, and a word of the condition it contradicts."""
PHASES: Final = (
    "intake", "fees", "closures", "letters", "partner-api", "monthly-report", "accessibility",
    "backup-drill",
)  # fmt: skip
AUDIT_FINDINGS: Final = {
    "info": (
        "Two endpoints answer more slowly than last month (p95 310 ms, limit 400 ms).",
        "The list of third-party licences was brought up to date.",
    ),
    "low": (
        "Three log messages name a permit without its year.",
        "The help page still shows the old colour of the map.",
    ),
    "medium": (
        "Fees of shortened permits are corrected by hand; 14 cases this month.",
        "The restore drill took 52 minutes; the plan says 30.",
    ),
    "high": (
        "Letters for one closure went to the wrong street.",
        "A partner's key can read permits of another town.",
    ),
    "critical": (
        "The nightly import emptied the table of contractors and nobody was told.",
        "Sessions of clerks who left are still valid.",
    ),
}
MODELS: Final = (
    ("wren-7b", "on-premises"),
    ("wren-32b", "on-premises"),
    ("heron-large-2", "birdhouse"),
    ("dunnock-mini", "birdhouse"),
)
CORPORA: Final = ("kerbside_prd", "bylaws_2025", "past_reviews", "runbooks")
ACTIONS: Final = ("committed", "build_red_reverted", "lint_reverted", "no_patch", "queued")
REVIEWERS: Final = ("ines.v", "tomasz.k", "priya.r")

FACTS: Final = {
    "distilled_facts": (
        "A closure on {street} needs the bus operator's consent when it lasts over {days} days.",
        "The fee for a parking bay is charged per started day, for a lane per calendar day.",
        "Permits on {street} go to the conservation officer first, because of the setts.",
        "House numbers on {street} are odd on the river side and even on the hill side.",
        "Residents get their letter {days} working days before the first day of work.",
    ),
    "distilled_procedures": (
        "To shorten a permit: open it, set the new end date, press *Recompute fee*, and send "
        "the credit note from the fees page. Example: P-{number}.",
        "When the import of the registry stops half way: restore last night's table, run "
        "`kerbside import --dry-run`, compare the counts, and only then run it for good.",
        "To move a closure on {street}: check the detour first, then the bus stop, then the "
        "waste collection. Write to residents last.",
        "If a letter went to the wrong street, send the correction within {days} days and note "
        "it in the case P-{number}.",
    ),
    "distilled_config_hints": (
        "`reminders.max_per_day = 1` has no effect before version 2.13; {days} days of mails "
        "went out one by one.",
        '`geocode.fallback = "mark"` flags an address such as {street} 4a as uncertain instead '
        "of guessing.",
        "`calendar.window_days = {days}` is enough for planning; the default of 365 makes every "
        "check slow.",
        "`letters.locale` follows the resident, not the server; leave it empty.",
    ),
    "audit_facts": (
        "In the {month} audit, {days} fees of shortened permits were corrected by hand.",
        "The restore drill in {month} took {number} seconds for the permits table alone.",
        "Since {month} every partner key is bound to one town.",
    ),
    "observer_escalations": (
        "Two reviewers disagreed on {path} three times in a row; a person should look at "
        "P-{number}.",
        "The model gave the same answer to {days} different questions about {street}.",
        "Reviews of {path} became {days} times shorter since the prompt was changed.",
    ),
    "standup_notes": (
        "Yesterday the fix for {street} went out; today the letters. Blocked by nobody.",
        "Waiting for the county's new registry format. {days} permits stay in the queue.",
        "Pairing on {path}; the flaky test is the one about noon.",
        "Demo for the town council on Thursday, P-{number} is the example.",
    ),
}
"""Texts of the extraction logs, and of one log (`standup_notes`) that no source knows."""
