"""Secrets do not leave; what only looks like one stays; and looking costs linear time.

Every fake secret is put together at run time from a mark and random characters, so that no
scanner finds one in this file.
"""

from __future__ import annotations

import base64
import random
import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.redaction import KINDS, redact, redact_value, suspicious
from stillhouse.redaction.formats import ISSUED, SHAPED

ALNUM = string.ascii_letters + string.digits
URL64 = ALNUM + "-_"
BASE64 = ALNUM + "+/"
HEX = string.digits + "abcdef"
UPPER = string.ascii_uppercase + "234567"


def some(alphabet: str, length: int, seed: object = 0) -> str:
    """Random characters, the same on every run."""
    return "".join(random.Random(f"{seed}/{length}/{alphabet}").choices(alphabet, k=length))


def key_block(label: str, lines: int = 6, eol: str = "\n") -> str:
    """A private key block that holds no key."""
    body = eol.join(some(BASE64, 64, line) for line in range(lines))
    return f"{'-' * 5}BEGIN {label}{'-' * 5}{eol}{body}{eol}{'-' * 5}END {label}{'-' * 5}"


def basic(user: str, password: str) -> str:
    """A Basic credential."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


JWT = "ey" + "J" + some(URL64, 33, 1) + ".ey" + "J" + some(URL64, 70, 2) + "." + some(URL64, 43, 3)

DISCORD_ID = base64.b64encode(some("123456789", 18).encode()).decode()

# Tokens with a mark: kind, token. A kind stands here as often as it has formats.
TOKENS: list[tuple[str, str]] = [
    ("openai", "sk-" + "proj-" + some(URL64, 120)),
    ("openai", "sk-" + "svcacct-" + some(URL64, 120)),
    ("openai", "sk-" + "admin-" + some(URL64, 120)),
    ("openai", "sk-" + some(ALNUM, 20) + "T3Blbk" + "FJ" + some(ALNUM, 20, 1)),
    ("openai", "sk-" + some(ALNUM, 48)),
    ("anthropic", "sk-" + "ant-api03-" + some(URL64, 93) + "AA"),
    ("anthropic", "sk-" + "ant-admin01-" + some(URL64, 93) + "AA"),
    ("anthropic", "sk-" + "ant-oat01-" + some(URL64, 93) + "AA"),
    ("openrouter", "sk-" + "or-v1-" + some(HEX, 64)),
    *(
        ("langfuse", f"{side}-lf-{some(HEX, 8)}-{'-'.join([some(HEX, 4)] * 3)}-{some(HEX, 12)}")
        for side in ("sk", "pk")
    ),
    ("deepseek", "sk-" + some(HEX, 32)),
    ("sk-key", "sk-" + some(ALNUM, 22)),
    ("google-api-key", "AI" + "za" + some(URL64, 35)),
    ("google-api-key", "AQ." + "Ab" + some(URL64, 48)),
    ("google-oauth", "GOC" + "SPX-" + some(URL64, 28)),
    ("google-oauth", "ya" + "29." + some(URL64, 120)),
    ("google-oauth", "1/" + "/0" + some(URL64, 60)),
    ("huggingface", "hf" + "_" + some(string.ascii_letters, 34)),
    ("huggingface", "api_" + "org_" + some(string.ascii_letters, 34)),
    ("groq", "gs" + "k_" + some(ALNUM, 52)),
    ("xai", "xa" + "i-" + some(ALNUM, 80)),
    ("perplexity", "ppl" + "x-" + some(ALNUM, 48)),
    ("replicate", "r8" + "_" + some(ALNUM, 37)),
    ("fireworks", "fw" + "_" + some(ALNUM, 24)),
    ("together", "tgp" + "_v1_" + some(URL64, 43)),
    ("cerebras", "cs" + "k-" + some(ALNUM, 48)),
    ("nvidia", "nva" + "pi-" + some(URL64, 64)),
    *(("langsmith", f"lsv2_{of}_{some(HEX, 32)}_{some(HEX, 10)}") for of in ("pt", "sk")),
    ("wandb", "wandb" + "_v1_" + some(URL64, 77)),
    ("pinecone", "pc" + "sk_" + some(ALNUM, 5) + "_" + some(ALNUM, 63)),
    ("voyage", "p" + "a-" + some(URL64, 43)),
    ("jina", "ji" + "na_" + some(HEX, 32) + some(ALNUM, 28)),
    ("firecrawl", "f" + "c-" + some(HEX, 32)),
    ("tavily", "tv" + "ly-" + some(ALNUM, 32)),
    ("elevenlabs", "s" + "k_" + some(HEX, 48)),
    *(("aws-key-id", mark + "IA" + some(UPPER, 16)) for mark in ("AK", "AS")),
    ("aws-bedrock", "AB" + "SK" + some(BASE64, 128)),
    ("aws-bedrock", "bedrock-api" + "-key-" + some(BASE64, 120)),
    ("cloudflare", "cf" + "ut_" + some(ALNUM, 48)),
    ("digitalocean", "dop" + "_v1_" + some(HEX, 64)),
    *(("github", f"gh{of}_" + some(ALNUM, 36)) for of in "pousr"),
    ("github", "gh" + "s_" + "123456_" + JWT),
    ("github", "github" + "_pat_" + some(ALNUM, 22) + "_" + some(ALNUM, 59)),
    *(("gitlab", f"gl{of}-" + some(URL64, 20)) for of in ("pat", "dt", "rt", "ptt", "agent")),
    ("gitlab", "glp" + "at-" + some(URL64, 27) + ".01." + some(HEX, 9)),
    ("gitlab", "GR" + "1348941" + some(URL64, 20)),
    ("atlassian", "ATA" + "TT3" + "xFfGF0" + some(URL64, 170) + "=" + some(UPPER, 8)),
    ("bitbucket", "AT" + "BB" + some(ALNUM, 32)),
    *(
        ("slack", f"xox{of}-{some(string.digits, 12)}-{some(string.digits, 12)}-{some(ALNUM, 24)}")
        for of in "bpas"
    ),
    ("slack", "xa" + "pp-1-" + some(UPPER, 11) + "-" + some(string.digits, 13) + some(HEX, 64)),
    ("discord-token", f"{DISCORD_ID}.{some(URL64, 6)}.{some(URL64, 38)}"),
    *(("stripe", f"{of}_live_" + some(ALNUM, 24)) for of in ("sk", "rk")),
    ("stripe", "sk_" + "test_" + some(ALNUM, 99)),
    ("stripe", "wh" + "sec_" + some(BASE64, 32)),
    ("twilio", "S" + "K" + some(HEX, 32)),
    ("sendgrid", "S" + "G." + some(URL64, 22) + "." + some(URL64, 43)),
    ("mailgun", "ke" + "y-" + some(HEX, 32)),
    ("npm", "np" + "m_" + some(ALNUM, 36)),
    ("pypi", "pyp" + "i-AgEI" + "cHlwaS5vcmc" + some(URL64, 140)),
    ("rubygems", "rubygems" + "_" + some(HEX, 48)),
    ("docker", "dckr" + "_pat_" + some(URL64, 27)),
    *(("vercel", f"vc{of}_" + some(ALNUM, 56)) for of in "pk"),
    ("netlify", "nf" + "p_" + some(ALNUM, 36)),
    ("supabase", "sb" + "p_" + some(HEX, 40)),
    ("supabase", "sb_" + "secret_" + some(URL64, 31)),
    ("fly", "fm" + "2_" + some(BASE64, 300)),
    ("heroku", "HR" + "KU-" + some(URL64, 60)),
    ("databricks", "da" + "pi" + some(HEX, 32)),
    *(("doppler", f"dp.{of}." + some(ALNUM, 43)) for of in ("pt", "st.prd", "sa", "audit")),
    *(("vault", f"hv{of}." + some(URL64, 95)) for of in "sb"),
    ("terraform", "atlas" + "v1." + some(URL64, 67)),
    ("pulumi", "pu" + "l-" + some(HEX, 40)),
    ("planetscale", "pscale" + "_tkn_" + some(URL64, 43)),
    *(("shopify", f"shp{of}_" + some(HEX, 32)) for of in ("at", "ss", "ca", "pa")),
    ("square", "EA" + "AA" + some(URL64, 60)),
    ("square", "sq0" + "atp-" + some(URL64, 22)),
    ("linear", "lin" + "_api_" + some(ALNUM, 40)),
    ("notion", "nt" + "n_" + some(ALNUM, 46)),
    ("notion", "secr" + "et_" + some(ALNUM, 43)),
    ("figma", "fi" + "gd_" + some(URL64, 40)),
    ("sentry", "sntr" + "ys_eyJ" + some(BASE64, 100) + "=_" + some(BASE64, 43)),
    ("sentry", "sntr" + "yu_" + some(HEX, 64)),
    ("grafana", "gl" + "sa_" + some(ALNUM, 32) + "_" + some(HEX, 8)),
    ("grafana", "gl" + "c_" + some(BASE64, 100)),
    ("newrelic", "NR" + "AK-" + some(UPPER, 27)),
    ("dynatrace", "dt0" + "c01." + some(UPPER, 24) + "." + some(UPPER, 64)),
    ("postman", "PM" + "AK-" + some(HEX, 24) + "-" + some(HEX, 34)),
    ("tailscale", "ts" + "key-auth-" + some(ALNUM, 11) + "CNTRL-" + some(ALNUM, 32)),
    ("onepassword", "op" + "s_eyJ" + some(URL64, 400)),
    ("age", "AGE-SECRET" + "-KEY-1" + some("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)),
    ("jwt", JWT),
    ("azure-client-secret", some(ALNUM, 3) + "8" + "Q~" + some(ALNUM + "_-", 34)),
    ("azure-devops", some(ALNUM, 76) + "AZ" + "DO" + some(ALNUM, 4)),
    ("private-key", key_block("RSA PRIVATE KEY")),
    ("private-key", key_block("PRIVATE KEY", eol="\\n")),
    ("private-key", key_block("OPENSSH PRIVATE KEY", eol="\r\n")),
    ("private-key", key_block("PGP PRIVATE KEY BLOCK")),
    ("private-key", key_block("EC PRIVATE KEY", lines=1, eol="\\\\n")),
]

# Secrets of which only a part is replaced: kind, text before, secret, text after.
PARTS: list[tuple[str, str, str, str]] = [
    ("azure-storage-key", "AccountName=x;AccountKey=", some(BASE64, 86) + "==", ";Suffix=y"),
    ("azure-shared-key", "KeyName=all;SharedAccessKey=", some(BASE64, 43) + "=", ""),
    (
        "azure-sas",
        "https://x.blob.core.windows.net/c?sv=2024&sig=",
        some(ALNUM, 44) + "%3D",
        "&se=1",
    ),
    (
        "slack-webhook",
        "https://hooks.slack.com/services/",
        f"T{some(UPPER, 10)}/B{some(UPPER, 10)}/{some(ALNUM, 24)}",
        "",
    ),
    (
        "discord-webhook",
        f"https://discord.com/api/webhooks/{some(string.digits, 19)}/",
        some(URL64, 68),
        "?wait=true",
    ),
    ("telegram", "https://api.telegram.org/bot123456789:", "AA" + some(URL64, 33), "/getMe"),
    ("url-password", "postgresql://app:", "tr0ub4dor", "@db.internal:5432/prod"),
    ("url-password", "redis://:", "s3cr3t!", "@cache:6379/0"),
    ("url-password", "https://bob:", "p%40ss#w", "@example.org/x?y=1"),
    ("url-password", "mongodb+srv://u:", "a@b1", "@c0.mongodb.net"),
    ("url-password", "https://x.org/cb?password=", "Sup3rS3cret99", "&x=1"),
    ("url-password", "jdbc:postgresql://h/db?user=a&password=", "Sup3rS3cret99", ""),
    ("url-password", "jdbc:sqlserver://h;user=sa;trustStorePassword=", "Sup3rS3cret99", ";x=1"),
    ("url-password", "https://x.org/?u=a\\u0026password=", some(ALNUM, 30), "&x=1"),
    ("password", "PGPASSWORD=", "Sup3rS3cret", " psql -h db"),
    ("password", '{"DB_PASSWORD": "', "Sup3rS3cret", '"}'),
    ("password", "curl -u admin:", "Passw0rd1", " https://x"),
    ("password", "curl https://x --user 'admin:", "Passw0rd1", "'"),
    ("password", "mysql --password ", "Sup3rS3cret9", " db"),
    ("password", "machine x.org login me password ", "Sup3rS3cret", "\n"),
    ("bearer-token", "Authorization: Bearer ", some(URL64, 40), ""),
    ("bearer-token", 'headers={"authorization": "bearer ', some(HEX, 32), '"}'),
    ("basic-auth", "Authorization: Basic ", basic("robot", some(ALNUM, 16)), ""),
    ("aws-secret-key", "AWS_SECRET_ACCESS_KEY=", some(BASE64, 40, 4), ""),
    ("aws-secret-key", "aws_secret_access_key = ", "/" + some(BASE64, 39, 5), ""),
    ("azure", 'AZURE_OPENAI_API_KEY="', some(HEX, 32), '"'),
    ("cohere", "COHERE_API_KEY=", some(ALNUM, 40), ""),
    ("mistral", "mistral_api_key: ", some(ALNUM, 32), ""),
    ("wandb", "export WANDB_API_KEY=", some(HEX, 40), " && make"),
    ("twilio", '"twilio_auth_token": "', some(HEX, 32), '"'),
    ("cloudflare", "CLOUDFLARE_API_TOKEN=", some(ALNUM, 40), ""),
    ("datadog", "DD_API_KEY=", some(HEX, 32), ""),
    ("vercel", "VERCEL_TOKEN=", some(ALNUM, 24), ""),
    ("password", "DB_PASSWORD='", "Xk9#mP2$vL5!qR8wT4z7", "'"),
    ("password", "<password>", some(ALNUM, 24), "</password>"),
    ("password", "my password is ", some(ALNUM, 20), ", keep it"),
    ("secret", "client_secret = ", some(ALNUM, 32), ""),
    ("secret", '{"apiKey": "', some(ALNUM, 32), '", "n": 1}'),
    ("secret", '{\\"api_key\\": \\"', some(ALNUM, 32), '\\"}'),
    ("secret", 'const authToken: string = "', some(ALNUM, 32), '";'),
    ("secret", "curl --api-key ", some(ALNUM, 32), " https://x.org"),
    ("secret", "https://x.org/v1?user=1&access_token=", some(ALNUM, 32), "&page=2"),
    ("secret", "The API key:\n\n", some(ALNUM, 32), "\n"),
    ("secret", '- name: API_KEY\n  "name": "API_KEY", "value": "', some(ALNUM, 32), '"'),
    ("secret", "api_key:\\n", some(ALNUM, 32), "\\n"),
    ("secret", "api_secret=", "550e8400-e29b-41d4-a716-446655440000", ""),
]

# Where a token may stand.
PLACES: dict[str, str] = {
    "alone": "{}",
    "prose": "I used {} for the call, and it worked.",
    "end of a sentence": "The token was {}. Then it was revoked.",
    "JSON": '{{"model": "x", "used": "{}"}}',
    "escaped JSON": '{{\\"used\\": \\"{}\\"}}',
    "shell": "curl -H 'X-Auth: {}' https://example.org",
    "URL": "https://example.org/v1/x?k={}&page=2",
    "escaped URL": "k%3D{}%26page",
    "markdown": "| key | `{}` |\n**{}**",
    "new line": "first\n{}\nlast",
    "escaped new line": "first\\n{}\\nlast",
    "tab": "x\t{}\ty",
    "colour": "\x1b[32m{}\x1b[0m",
    "Unicode": "ключ→{}…, “{}”, é{}é",
    "control character": "\x01{}\x02",
}


@pytest.mark.parametrize(("kind", "token"), TOKENS, ids=lambda value: value[:12])
def test_token_is_replaced_wherever_it_stands(kind: str, token: str) -> None:
    """A token goes, whole, out of every place, under its kind, and is counted."""
    for name, place in PLACES.items():
        text = place.replace("{{", "{").replace("}}", "}").replace("{}", token)
        counts: Counter[str] = Counter()
        assert redact(text, counts) == text.replace(token, f"[REDACTED:{kind}]"), name
        assert counts == {kind: text.count(token)}, name
        assert suspicious(text.encode()), name
        assert suspicious(msgspec.json.encode([text])), name


@pytest.mark.parametrize(("kind", "before", "secret", "after"), PARTS)
def test_only_the_secret_part_is_replaced(kind: str, before: str, secret: str, after: str) -> None:
    """The name, the host and the rest of the line stay."""
    for around in ("", "\n", "See: "):
        text = around + before + secret + after
        counts: Counter[str] = Counter()
        assert redact(text, counts) == f"{around}{before}[REDACTED:{kind}]{after}"
        assert counts == {kind: 1}
        assert suspicious(text.encode())
        assert suspicious(msgspec.json.encode({"messages": [{"content": text}]}))


def test_every_kind_has_an_example() -> None:
    """No kind of the table is without a positive above."""
    assert {kind for kind, _ in TOKENS} | {kind for kind, *_ in PARTS} == set(KINDS)


def test_kinds_are_documented() -> None:
    """A kind has a pattern that compiles, a line about it and a source; names are lower case."""
    for name, kind in KINDS.items():
        re.compile(kind.pattern)
        assert kind.about
        assert kind.source
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)


# ---------------------------------------------------------------------------- negatives

HARMLESS = [
    "",
    "plain words, and nothing else",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "sha256:" + some(HEX, 64),
    "id: 550e8400-e29b-41d4-a716-446655440000",
    "data:image/png;base64," + some(BASE64, 4000),
    "src/stillhouse/exports/firewall.py:120",
    "/usr/lib/python3.11/site-packages/PKG_2_0/Some_Module_Name_12.py",
    "https://github.com/org/repo/blob/3f786850e387550fdab836ed7e6dc881de23001b/a.py#L10-L20",
    "test_compute_distribution_drift_with_1000_buckets",
    "from transformers import hf_hub_download, AutoModelForCausalLMWithValueHead2",
    "sk-learn, task-2024-01-01-nightly-build-run, sk-estimator-html-doc-link",
    "the prefixes ghp_, sk-proj-, xoxb- and AKIA",
    "class='sk-fading-circle1-before sk-cube-Grid-container-9'",
    "def f(token: str, api_key: str | None = None) -> SecretStr: ...",
    "password = get_password_from_vault(name='x9_Admin_User_1')",
    "api_key = os.environ['OPENAI_API_KEY_2024']",
    'api_key="${OPENAI_API_KEY_PROD_1}"',
    "api_key: {{ vault.openai_api_key_v2 }}",
    "API_KEY=<your-api-key-goes-here-1234>",
    "API_KEY=YOUR_API_KEY_HERE_12345678",
    "OPENAI_API_KEY=sk-" + "x" * 48,
    "OPENAI_API_KEY=sk-" + "your-api-key-Here-123456789",
    "sk-" + "proj-" + "x" * 60,
    "gh" + "p_" + "X" * 36,
    "AK" + "IA" + "IOSFODNN7" + "EXAMPLE",
    "max_tokens: 4096, total_tokens=1234567890123456",
    'next_page_token = "' + some(ALNUM, 40) + '"',
    'eos_token: "<|endoftext_Special_Token_99|>"',
    "payment: credit_card_4421486, certificate_7504069, gift_card_1234567890",
    '"reservation_id": "HATHAT", "user_id": "mia_li_3668", "token": "credit_card_4421486"',
    'password: "correct-horse-battery-staple"',
    "secret = my-service-account-2-production",
    'access_key = "src/secrets/production/credentials2.json"',
    "postgres://user:password\x40localhost/db, redis://:xxx\x40h, amqp://u:${PW}\x40h, http://u:***\x40h",
    "http://user:<pw>\x40host, https://{user}:{password}\x40host, ftp://u:%s\x40host",
    "http://localhost:3000?email=a\x40b.org, http://a.org:80,b.org:81/\x40x, mail a\x40b.org, s3://b/k\x40v",
    "Authorization: Bearer <token>, Authorization: Bearer $ACCESS_TOKEN_FROM_LOGIN1",
    "Bearer authentication_with_long_Identifiers_1 is documented",
    "a basic understanding1234567890 of the basic QWxhZGRpbjpvcGVuIHNlc2FtZQ",
    f"{'-' * 5}BEGIN PRIVATE KEY{'-' * 5} and {'-' * 5}END PRIVATE KEY{'-' * 5} are the markers",
    f"{'-' * 5}BEGIN PUBLIC KEY{'-' * 5}\n{some(BASE64, 64)}\n{'-' * 5}END PUBLIC KEY{'-' * 5}",
    "token [REDACTED:github], api_key=[REDACTED:openai], postgres://u:[REDACTED:url-password]@h",
    '"token": "550e8400-e29b-41d4-a716-446655440000"',
    "token = Zk3Rq8Vw1Xc5Bn7Mj2Lp(argument)",
    "publicKeyToken=" + some(HEX, 16),
    "call_" + some(ALNUM, 24),
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + some(BASE64, 43) + " me@host",
    "http://host:8080/path\x40x, https://medium.com:443/\x40user, http://h:80/a'b\x40c",
    "http://{host}:{port}/x\x40y, http://localhost:$PORT/a\x40b, http://h:<port>/a\x40b",
    "f'http://localhost:8000',email='ops\x40corp.com'; fetch('http://a:b','x\x40y.org')",
    "<a href='http://h:80'>me\x40x.org</a><url>http://x.org:81</url>me\x40x.org",
    "docker://ubuntu:22.04\x40sha256:" + "ab12" * 16,
    "git+ssh://git\x40github.com:org/repo\x40v1.2, ssh://git\x40github.com:22/Org/Repo\x40main",
    "postgres://$USER:$PASS\x40h, postgres://u:$db_password\x40h, postgres://u:$dbPassword\x40h",
    "postgres://u:{settings.DB_PASS}\x40h, postgres://u:{{password}}\x40h, amqp://u:%PGPASS%\x40h",
    "https://u:${{secrets.DEPLOY_TOKEN}}\x40h, https://u:${PW:-none}\x40h, https://u:$(pass)\x40h",
    "postgres://u:%(db_pass)s\x40h, postgres://u:{quote(password)}\x40h, redis://u:#{pw}\x40h",
    "postgres://:user::password\x40h, mysql://u::password\x40h, http://[::1]:8080/x\x40y",
    "https%3A%2F%2Flocalhost%3A8080%2Fx%40y, u=https%3A%2F%2Fx.org%2Fcb&email=a%40b.org",
    "postgres%3A%2F%2Fu%3A%24PGPASSWORD%40h, postgres%3A%2F%2Fu%3Apassword%40h",
    "https://some-organisation-name\x40dev.azure.com/x, https://first.second-third\x40x.org",
    "http:\\/\\/x.org:80\\/a\x40b, file:///C:/Files/me/a\x40b.txt, file://C:/Files/me\x40work/x",
    "postgres://u:your-secret\x40h, amqp://u:[password]\x40h, smtp://ops\x40corp.com:password\x40mx",
    f"if '{'-' * 5}BEGIN PRIVATE KEY{'-' * 5}' in text and text.endswith('{'-' * 5}END PRIVATE "
    f"KEY{'-' * 5}'): load_pem_private_key(text, BackendForOpenSSL3)",
    f"{'-' * 5}BEGIN PRIVATE KEY{'-' * 5}\n<your key>\n{'-' * 5}END PRIVATE KEY{'-' * 5}",
    f"It starts with {'-' * 5}BEGIN RSA PRIVATE KEY{'-' * 5}, see src/stillhouse/lake.py",
    'SECRET_KEY = os.environ["DJANGO_SECRET_KEY_PROD_1"]; SECRET_KEY = env("SECRET_KEY")',
    'SECRET_KEY = "change-me-in-production-please"; SECRET_KEY="your-secret-key-goes-here-1234"',
    "SECRET_KEY = '{{ cookiecutter.secret_key_for_django_2 }}' and SECRET_KEY: '${SECRET_KEY_V2}'",
    "--password OPTION, --password <pw>, --password $PW1, --password '$PGPASS1', --password-stdin",
    "--password-file /run/secrets/pw1, --password /run/secrets/pw1, --password=${PGPASS_1}",
    "PGPASSWORD=$1 psql, PGPASSWORD=${PW1}, DB_PASSWORD=get_pw2(), RESET_PASSWORD=False, PASSWORD=",
    'PASSWORD="$(cat pw.txt)", DB_PASSWORD: str, {"PASSWORD": "required"}, PASSWORD=password',
    "curl -u user:password x, curl -u $USER1:$PASS1 x, curl -u 'me:<token1>' x, docker -u 10:10",
    "https://x.org/?password=required&x=1, /login?password=${PW_1}&b, ?a&password={password1}",
    "fetch(`/login?user=${u}&password=${pw1}`), x=1;password=getPw2(), &password=********",
    "The login form and its password field, a login page, then password twice2.",
    "Authorization: Token <your-token-1>, Authorization: Token ${API_TOKEN_PROD_12}",
    "x-api-key: $API_KEY_PROD_12345, Authorization: Token authentication_for_Users_2",
    '"auth": "required", "auth": "OAuth2AuthorizationCodeBearer", auth = "BasicAuthHandler2Test"',
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    """Hashes, ids, names, paths, placeholders and code are the same object afterwards."""
    counts: dict[str, int] = {}
    assert redact(text, counts) is text
    assert counts == {}


def test_prose_and_code_do_not_pass_the_filter() -> None:
    """The filter says no to ordinary text, so that the search is not paid for."""
    for text in HARMLESS[1:2] + HARMLESS[9:10]:
        assert not suspicious(text.encode() * 50)


# ------------------------------------------------------------------- blocks and pairs


def test_truncated_key_block_goes_to_the_end_of_its_base64() -> None:
    """A block that lost its end loses what is there of the key, and no word after it."""
    block = key_block("RSA PRIVATE KEY")
    cut = block[: block.index(f"{'-' * 5}END") - 10]
    assert redact(cut, {}) == "[REDACTED:private-key]"
    assert redact(f"{cut}\n\nThe file ends here.", {}).endswith("]\n\nThe file ends here.")


def test_key_block_with_headers_line_numbers_or_quotes_is_found() -> None:
    """Encrypted PEM, a listing with line numbers, a string in code and a service account."""
    block = key_block("RSA PRIVATE KEY")
    begin, *body = block.split("\n")
    encrypted = [begin, "Proc-Type: 4,ENCRYPTED", f"DEK-Info: AES-128-CBC,{some(HEX, 32)}", ""]
    forms = [
        "\n".join([*encrypted, *body]),
        "\n".join(f"{number:>6}→{line}" for number, line in enumerate([begin, *body], 1)),
        "\n".join(f'    "{line}\\n"' for line in [begin, *body]),
        "\n".join(f"+{line}" for line in [begin, *body]),
        msgspec.json.encode({"private_key": block, "type": "service_account"}).decode(),
    ]
    for form in forms:
        counts: Counter[str] = Counter()
        clean = redact(form, counts)
        assert counts == {"private-key": 1}
        assert not any(line in clean for line in body[:-1])


def test_putty_key_loses_its_private_lines() -> None:
    """A PuTTY key file goes from its first line to its MAC."""
    lines = "\n".join(some(BASE64, 64, line) for line in range(4))
    text = (
        f"PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nComment: k\nPublic-Lines: 2\n"
        f"{some(BASE64, 64)}\n{some(BASE64, 20)}\nPrivate-Lines: 4\n{lines}\n"
        f"Private-MAC: {some(HEX, 40)}\nend"
    )
    assert redact(text, {}) == "[REDACTED:private-key]\nend"


def test_aws_secret_beside_a_key_id_is_found_without_a_name() -> None:
    """An access key id gives away the forty characters beside it, but not a commit's hash."""
    key_id = "AK" + "IA" + some(UPPER, 16)
    counts: Counter[str] = Counter()
    clean = redact(f"{key_id},{some(BASE64, 40)}\n{some(HEX, 40)}", counts)
    assert clean == f"[REDACTED:aws-key-id],[REDACTED:aws-secret-key]\n{some(HEX, 40)}"
    assert counts == {"aws-key-id": 1, "aws-secret-key": 1}


def test_overlapping_finds_are_one_named_by_the_more_telling() -> None:
    """A token in a named field, in a header or in a URL counts once, as what it is."""
    token = "gh" + "p_" + some(ALNUM, 36)
    for text in (f'GITHUB_TOKEN="{token}"', f"Bearer {token}", f"https://x:{token}@github.com/o/r"):
        counts: Counter[str] = Counter()
        assert redact(text, counts) == text.replace(token, "[REDACTED:github]")
        assert counts == {"github": 1}


def test_secrets_glued_to_one_another_all_go() -> None:
    """What is right behind a token goes with it, however many there are: one mark, one count."""
    key_id = "AK" + "IA" + some(UPPER, 16)
    for kind, token in (
        ("google-api-key", "AI" + "za" + some(URL64, 35)),
        ("github", "gh" + "p_" + some(ALNUM, 36)),
        ("aws-key-id", key_id),
        ("voyage", "p" + "a-" + some(URL64, 43)),
        ("jwt", JWT),
        ("azure-client-secret", some(ALNUM, 3) + "8" + "Q~" + some(ALNUM, 34)),
    ):
        counts: Counter[str] = Counter()
        assert redact(f"a {token * 20}. Then", counts) == f"a [REDACTED:{kind}]. Then"
        assert counts == {kind: 1}
    assert redact(f"{key_id}{some(UPPER, 8)}", {}) == f"{key_id}{some(UPPER, 8)}"


@pytest.mark.parametrize("seed", range(8))
def test_of_two_glued_tokens_of_any_kinds_nothing_stays(seed: int) -> None:
    """Whatever two kinds are glued, no ten characters of either stay, and twice is once."""
    rng = random.Random(seed)
    pool = [token for kind, token in TOKENS if kind != "private-key"]
    for first in pool:
        second = rng.choice(pool)
        for text in (first + second, f"see {first}{second}, and {second}{first}."):
            clean = redact(text, {})
            for token in (first, second):
                body = token[-24:]
                pieces = {body[at : at + 10] for at in range(len(body) - 9)}
                assert not any(piece in clean for piece in pieces), (text, clean)
            assert redact(clean, {}) is clean
            assert suspicious(text.encode())
            assert suspicious(msgspec.json.encode([text]))


def test_what_follows_a_token_behind_a_sign_stays() -> None:
    """A path, a file's ending or a sentence behind a token is no part of it."""
    token = "gh" + "p_" + some(ALNUM, 36)
    for after in (".git", "/info/refs", "=x", "+more", ". Then", "~1", ":x-oauth-basic"):
        assert redact(f"see {token}{after}", {}) == f"see [REDACTED:github]{after}"


# ---------------------------------------------------------------------------- structures


def test_value_is_redacted_in_every_leaf_and_key() -> None:
    """Strings are found in lists, tuples, objects and keys; other leaves stay."""
    token = "gh" + "p_" + some(ALNUM, 36)
    other = "np" + "m_" + some(ALNUM, 36)
    value = {"a": [1, None, (f"x {token}", 2.5)], token: {"deep": [{"er": f"{other} {token}"}]}}
    counts: Counter[str] = Counter()
    mark = "[REDACTED:github]"
    assert redact_value(value, counts) == {
        "a": [1, None, (f"x {mark}", 2.5)],
        mark: {"deep": [{"er": f"[REDACTED:npm] {mark}"}]},
    }
    assert counts == {"github": 3, "npm": 1}


def test_key_names_the_string_it_holds() -> None:
    """A random string under ``api_key`` is a secret; the same under ``id`` is not."""
    value = {"id": some(ALNUM, 32), "api_key": some(ALNUM, 32), "n": {"DB_PASSWORD": some(HEX, 32)}}
    counts: Counter[str] = Counter()
    assert redact_value(value, counts) == {
        "id": some(ALNUM, 32),
        "api_key": "[REDACTED:secret]",
        "n": {"DB_PASSWORD": "[REDACTED:password]"},
    }
    assert counts == {"secret": 1, "password": 1}
    assert suspicious(msgspec.json.encode(value))


def test_keys_that_become_alike_are_kept_apart() -> None:
    """Two secret keys of one kind do not swallow each other's values."""
    tokens = ["gh" + "p_" + some(ALNUM, 36, seed) for seed in range(3)]
    clean = redact_value({token: place for place, token in enumerate(tokens)}, {})
    assert clean == {
        "[REDACTED:github]": 0,
        "[REDACTED:github] 2": 1,
        "[REDACTED:github] 3": 2,
    }


def test_value_without_a_secret_is_the_same_object() -> None:
    """Nothing found: the very object, so that callers can test identity; and parts likewise."""
    clean = {"text": "plain", "list": [1, "two", {"three": (3.0, None, True)}], "password": "short"}
    counts: dict[str, int] = {}
    assert redact_value(clean, counts) is clean
    assert counts == {}
    mixed = {"kept": clean, "token": "gh" + "p_" + some(ALNUM, 36)}
    assert redact_value(mixed, counts)["kept"] is clean


def test_counts_add_up_over_calls() -> None:
    """The counts given are added to."""
    counts = {"github": 2, "other": 1}
    redact("gh" + "p_" + some(ALNUM, 36), counts)
    assert counts == {"github": 3, "other": 1}


def test_lone_surrogate_is_no_obstacle() -> None:
    """Text that is not valid Unicode is searched all the same and keeps its odd characters."""
    token = "gh" + "p_" + some(ALNUM, 36)
    assert redact(f"\ud800{token}\udfff", {}) == "\ud800[REDACTED:github]\udfff"


# ------------------------------------------------------------- many random ones of a kind

PUNCTUATED = string.ascii_lowercase + string.digits + "!@#$%^&*(-_=+)"  # Django's alphabet
HOSTS = ("db.internal:5432/prod", "10.0.0.7/x?y=1", "mx")
PREFIXES = ("", "-- ", "# ", "> ", "    ", "// ", "|  ", "+", " 12→")
Maker = Callable[[random.Random], tuple[str, str, str]]


def any_of(rng: random.Random, alphabet: str, low: int, high: int) -> str:
    """Random characters, a random number of them."""
    return "".join(rng.choices(alphabet, k=rng.randint(low, high)))


def login_url(rng: random.Random, password: str, user: str = "app") -> tuple[str, str, str]:
    """A URL with a password, in its three parts."""
    scheme = rng.choice(["postgres", "https", "amqp", "mongodb+srv", "smtp"])
    return f"{scheme}://{user}:", password, f"@{rng.choice(HOSTS)}"


def with_sign(rng: random.Random, signs: str) -> str:
    """A password with one of the signs inside."""
    left, right = any_of(rng, ALNUM, 4, 12), any_of(rng, ALNUM, 5, 12)
    return f"{left}{rng.choice(signs)}{right}"


def escaped_url(rng: random.Random) -> tuple[str, str, str]:
    """A URL as encoders write it that escape the slash."""
    before, password, after = login_url(rng, any_of(rng, ALNUM, 8, 24))
    return before.replace("/", "\\/"), password, after.replace("/", "\\/")


def encoded_url(rng: random.Random) -> tuple[str, str, str]:
    """A URL within the query of another."""
    before, password, after = login_url(rng, any_of(rng, ALNUM + "!$/:", 10, 24))
    times = rng.randint(1, 2)
    for _ in range(times):
        before, password, after = (quote(part, safe="") for part in (before, password, after))
    return f"https://x.org/?to={before}", password, f"{after}&page=2"


def token_url(rng: random.Random) -> tuple[str, str, str]:
    """A URL with a token in the place of the user, or of the password of a fixed user."""
    token = any_of(rng, ALNUM, 32, 40)
    form = rng.choice(["{}@", "{}:x-oauth-basic@", "{}:@", "x-access-token:{}@", "oauth2:{}@"])
    before, after = form.split("{}")
    return f"git clone https://{before}", token, f"{after}github.com/o/r.git"


def block(rng: random.Random, *, cut: bool = False) -> tuple[str, str, str]:
    """A private key in lines of any width, each behind a prefix; with or without its end."""
    width, number = rng.choice([20, 24, 32, 48, 64, 76]), rng.randint(5, 14)
    body = [any_of(rng, BASE64, width, width) for _ in range(number)]
    label = rng.choice(["RSA PRIVATE KEY", "PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
    begin, end = f"{'-' * 5}BEGIN {label}{'-' * 5}", f"{'-' * 5}END {label}{'-' * 5}"
    lines = [begin, *body, end]
    if cut:
        lines = [begin, *body[:-1], body[-1][: rng.randint(1, width)]]
    prefix, eol = rng.choice(PREFIXES), rng.choice(["\n", "\r\n", "\\n", "\\\\n", '\\n"\n"'])
    return "", eol.join(prefix + line for line in lines), ""


def docker_auth(rng: random.Random) -> tuple[str, str, str]:
    """What `docker login` leaves in its configuration."""
    return '{"auths": {"ghcr.io": {"auth": "', basic("robot", any_of(rng, ALNUM, 16, 40)), '"}}}'


def in_form(form: str, low: int, high: int, alphabet: str = ALNUM) -> Maker:
    """A maker of one line with a random value in it."""
    before, after = form.split("{}")
    return lambda rng: (before, any_of(rng, alphabet, low, high), after)


# Kind: how to make one, and how many of 600 may be missed (as docs/redaction.md says).
RANDOM: dict[str, tuple[Maker, int]] = {
    "URL, $ first": (lambda rng: login_url(rng, "$" + any_of(rng, ALNUM, 8, 24)), 0),
    "URL, : first": (lambda rng: login_url(rng, ":" + any_of(rng, ALNUM, 8, 24)), 0),
    "URL, in braces": (lambda rng: login_url(rng, f"{{{any_of(rng, ALNUM, 8, 24)}}}"), 0),
    "URL, e-mail": (lambda rng: login_url(rng, any_of(rng, ALNUM, 8, 24), "ops\x40corp.com"), 0),
    "URL, slash": (lambda rng: login_url(rng, with_sign(rng, "/")), 3),
    "URL, quote or bracket": (lambda rng: login_url(rng, with_sign(rng, "'<>")), 0),
    "URL, escaped": (escaped_url, 0),
    "URL, encoded": (encoded_url, 3),
    "URL, token": (token_url, 0),
    "key block": (block, 0),
    "key block, cut": (lambda rng: block(rng, cut=True), 6),
    "Django": (in_form('SECRET_KEY = "{}"', 50, 50, PUNCTUATED), 0),
    "Django, prefixed": (in_form("SECRET_KEY = 'django-insecure-{}'", 50, 50, PUNCTUATED), 0),
    "Django, setting": (in_form('DJANGO_SECRET_KEY: "{}"', 50, 50, PUNCTUATED), 0),
    "netrc": (in_form("machine h.org login u password {}", 20, 40), 0),
    "netrc, lines": (in_form("machine h.org\n  login u\n  password {}\n", 20, 40), 0),
    "Docker": (docker_auth, 0),
    "curl, user first": (in_form("curl -u bob:{} https://x.org", 20, 40), 0),
    "curl": (in_form("curl -s -u bob:{} https://x.org", 20, 40), 0),
    "curl, quoted": (in_form("curl https://x.org --user 'bob:{}'", 20, 40), 0),
    "option": (in_form("mysqldump --password {} db", 20, 40), 0),
    "option, equals": (in_form("mysqldump --password={} db", 20, 40), 0),
    "setting": (in_form("PGPASSWORD={} psql -h db", 20, 40), 0),
    "secret key": (in_form('secret_key = "{}"', 24, 50, PUNCTUATED), 0),
    "netrc, short": (in_form("machine h.org login u password {}", 12, 19), 6),
    "curl, short": (in_form("curl -s -u bob:{} https://x.org", 12, 19), 6),
    "option, short": (in_form("mysqldump --password {} db", 12, 19), 6),
    "setting, short": (in_form("PGPASSWORD={} psql -h db", 12, 19), 6),
    "query": (in_form("https://x.org/cb?user=a&password={}&page=2", 12, 40), 6),
    "jdbc": (in_form("jdbc:sqlserver://h:1433;user=sa;password={};x=1", 12, 40), 6),
    "token header": (in_form("Authorization: Token {}", 40, 40, HEX), 0),
    "token header, random": (in_form("Authorization: Token {}", 24, 48), 0),
    "key header": (in_form("x-api-key: {}", 24, 48), 0),
}


def all_missed(make: Maker) -> list[str]:
    """Of 200 of a kind, alone, in a sentence and in JSON, those of which ten characters stay."""
    missed = []
    for seed in range(200):
        before, secret, after = make(random.Random(seed))
        alone = f"{before}{secret}{after}"
        sentence = f"I ran {alone} yesterday, and it worked."
        encoded = msgspec.json.encode({"n": 1, "text": sentence}).decode()
        for whole, shown in (
            (alone, secret),
            (sentence, secret),
            (encoded, msgspec.json.encode(secret).decode()[1:-1]),
        ):
            clean = redact(whole, {})
            some_of_it = {shown[at : at + 10] for at in range(max(1, len(shown) - 9))}
            if any(piece in clean for piece in some_of_it) or not suspicious(whole.encode()):
                missed.append(whole)
    return missed


@pytest.mark.parametrize("name", RANDOM)
def test_random_secrets_of_a_kind_are_replaced(name: str) -> None:
    """Of 200 random ones, alone, in a sentence and in JSON, no more stay than is documented."""
    make, allowed = RANDOM[name]
    missed = all_missed(make)
    assert len(missed) <= allowed, missed[:3]


LOGINS = ("netrc", "curl", "option", "setting", "Django", "secret key", "query", "jdbc")


@pytest.mark.parametrize("name", [name for name in RANDOM if name.startswith(LOGINS)])
def test_password_of_a_command_goes_whatever_else_the_text_holds(name: str) -> None:
    """A long identifier elsewhere in the text decides nothing about a login."""
    noise = "call_" + some(ALNUM, 24)
    for seed in range(200):
        text = "".join(RANDOM[name][0](random.Random(seed)))
        assert redact(f"{noise}\n{text}", {}) == f"{noise}\n{redact(text, {})}"


def test_password_that_is_the_word_secret_is_replaced_in_a_url() -> None:
    """``secret`` is a password that people use; ``your-secret`` is a gap to fill in."""
    assert redact("amqp://app:secret\x40mq", {}) == "amqp://app:[REDACTED:url-password]@mq"


def test_name_within_a_value_that_is_none_is_still_a_name() -> None:
    """What was taken for a value and was no secret is looked at again, for names in it."""
    password = "pt$%+" + "ag6ec5"
    for text in (f"DB_PASSWORD=PASSWORD='{password}'", f"--password --password={password}"):
        dense = f"{some(ALNUM, 20)} {text}"
        assert redact(dense, {}) == dense.replace(password, "[REDACTED:password]")


def test_value_of_a_setting_does_not_hide_the_names_before_it() -> None:
    """A password at the text's end leaves the keys before it to be found."""
    text = f"api_key={some(ALNUM, 32)}\nclient_secret={some(ALNUM, 32)}\nPASSWORD=hunter22x"
    counts: Counter[str] = Counter()
    assert redact(text, counts) == (
        "api_key=[REDACTED:secret]\nclient_secret=[REDACTED:secret]\nPASSWORD=[REDACTED:password]"
    )
    assert counts == {"secret": 2, "password": 1}


def test_name_of_a_kind_names_nothing() -> None:
    """The word ``token`` in a mark does not make a secret of what follows the mark."""
    text = f"Bearer [REDACTED:bearer-token]\n> {some(ALNUM, 24)}"
    assert redact(text, {}) is text


def test_filter_reads_runs_to_their_end() -> None:
    """A run that goes on behind the last dense one is not taken for a shorter one."""
    text = 'JANGO_SECRET_KEY: "aw#hq309oglya%in(+^73hy96k!=5(skui2d^hzj)\x1f_.)\n\x1f@'
    assert redact(text, {}) is text


# ------------------------------------------------------------------------------- laws

SECRETS = [token for _, token in TOKENS if len(token) < 400] + [
    before + secret + after for _, before, secret, after in PARTS
]
SECRETS += ["".join(make(random.Random(seed))) for make, _ in RANDOM.values() for seed in range(2)]
GLUE = st.text(st.sampled_from("ab1 \n\t\\\"'`:=.,/@-_%[]{}nrtu0\x00\x1fé→😀"), max_size=12)
LEAF = st.lists(st.one_of(GLUE, st.sampled_from(SECRETS)), max_size=4).map("".join)
VALUE = st.recursive(
    LEAF | st.none() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(LEAF | st.sampled_from(["api_key", "password", "id"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(LEAF)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    """What is redacted already stays as it is, the very object."""
    clean = redact(text, {})
    assert redact(clean, {}) is clean


@given(LEAF)
def test_filter_is_sound_for_a_text(text: str) -> None:
    """Whatever would be redacted passes the filter, as text and as JSON, once and twice."""
    if redact(text, {}) is not text:
        assert suspicious(text.encode())
        assert suspicious(msgspec.json.encode(text))
        assert suspicious(msgspec.json.encode(msgspec.json.encode([text]).decode()))


@given(VALUE)
def test_filter_is_sound_for_a_value(value: Any) -> None:
    """Whatever would be redacted in some leaf or key passes the filter in the whole's JSON."""
    counts: Counter[str] = Counter()
    clean = redact_value(value, counts)
    assert bool(counts) == (clean is not value)
    if counts:
        assert suspicious(msgspec.json.encode(value))


@given(VALUE)
def test_counts_are_the_marks_written(value: Any) -> None:
    """Every count is a mark in the result, and the other way round."""
    counts: Counter[str] = Counter()
    encoded = msgspec.json.encode(redact_value(value, counts)).decode()
    assert Counter(re.findall(r"\[REDACTED:([a-z0-9-]+)\]", encoded)) == counts


@given(st.text(max_size=200))
def test_text_around_a_secret_is_kept(text: str) -> None:
    """Only the secret changes: the text before and after it comes back byte for byte."""
    token = "gh" + "p_" + some(ALNUM, 36)
    if redact(text, {}) is text:
        assert redact(f"{text} {token} {text}", {}) == f"{text} [REDACTED:github] {text}"


def test_random_tokens_are_rarely_missed() -> None:
    """Of 3,000 random tokens at most two slip through, as the module says."""
    makers: list[Callable[[int], str]] = [
        lambda seed: "glp" + "at-" + some(URL64, 20, seed),
        lambda seed: "gh" + "p_" + some(ALNUM, 36, seed),
        lambda seed: "hf" + "_" + some(string.ascii_letters, 34, seed),
    ]
    missed = [
        token for make in makers for token in map(make, range(1000)) if redact(token, {}) is token
    ]
    assert len(missed) <= 2


# ------------------------------------------------------------------------------- time


def test_patterns_repeat_without_bound_only_at_their_end() -> None:
    """A mark's pattern cannot run far and then fail: that is what keeps the search linear."""
    bounded = r"(?:\[(?:\\.|[^\]\\])*\]|\\.|[^\\\[{+*]|\{[0-9]+(?:,[0-9]+)?\}\+?|\+(?=[A-Za-z(]))*"
    last = r"(?:\{[0-9]+,\}(?:=?\{0,2\})?(?:=\{0,2\})?\)?!?)?"
    for kind, _, body, _, _ in ISSUED:
        assert re.fullmatch(bounded + last, body), kind
    for kind, pattern, _, _ in SHAPED:
        assert not re.search(r"[+*}]\)[+*{]", pattern), kind


HOSTILE = {
    "marks": "sk-" + "proj-",
    "glued": "gh" + "p_" + "Zk3Rq8Vw1Xc5Bn7M" * 3 + "_x.",
    "glued by signs": "ey" + "JZk3Rq8Vw1Xc5Bn7M.ey" + "JZk3Rq8Vw1X.Bn7MZk3Rq8Vw1Xc/",
    "mark and run": "sk-" + "ant-api03-A1",
    "jwt starts": "-ey" + "JhbGciOiJIUzI1",
    "jwt parts": "ey" + "JhbGciOiJIUzI1NiJ9.",
    "dotted": "MTAbcdefghijklmnopqrstu1.",
    "block starts": f"{'-' * 5}BEGIN PRIVATE KEY{'-' * 5}\n",
    "block bodies": f"{'-' * 5}BEGIN RSA PRIVATE KEY{'-' * 5} {'Ab1 ' * 80}",
    "putty": "PuTTY-User-Key-File-2: x ",
    "urls": "://a:b://",
    "url ats": "://u:p@@@@@@",
    "names": 'token="',
    "assignments": "a=Zk3Rq8Vw1Xc5=",
    "quotes": "password" + '\\"' * 40,
    "escapes": "\\nA1B2C3D4E5F6G7\\u0041",
    "one run": "aB3xZ9",
    "key ids": "AK" + "IAZZ22YY33XX44WW55 ",
    "named": "token=Zk3Rq8Vw1Xc5Bn7M=",
    "named example": "token=exampleZk3Rq8Vw1Xc5Bn7M=",
    "pipes": "x=%3A%2F%2Fa%3A" + "b" * 40,
    "escaped urls": ":\\/\\/a:b" + "\\" * 20,
    "backslashes": ":" + "\\" * 50,
    "quoted urls": "'x://a:b'c",
    "encoded": "%3A%2F%2Fab",
    "percent signs": "%25",
    "curls": "curl -s ",
    "options": "--password ",
    "queries": "?password=",
    "queries of values": "&password=aB3$",
    "netrc": "login a password ",
    "settings": "PASSWORD=",
    "secret keys": 'SECRET_KEY="a1b2&(c3',
    "cut blocks": f"{'-' * 5}BEGIN PRIVATE KEY{'-' * 5}\n" + "aB3dE5gH7jK9mN1pQ3sT5vW7\n// " * 30,
    "block ends": f"{'-' * 5}END PRIVATE KEY{'-' * 5} aB3dE5gH7jK9mN1pQ3sT5vW7 ",
    "bearer": "Bearer Zk3Rq8Vw1Xc5Bn7M. ",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_finishes(name: str) -> None:
    """Much of what could make a search go back and forth are searched, and end."""
    piece = HOSTILE[name]
    text = piece * (300_000 // len(piece)) + " Zk3Rq8Vw1Xc5Bn7M"  # which passes the filter
    redact(text, {})
    suspicious(text.encode())


def test_long_text_keeps_all_but_its_secret() -> None:
    """One token in five megabytes of base64 and prose is found and nothing else changes."""
    token = "gh" + "p_" + some(ALNUM, 36)
    noise = some(BASE64, 100_000) + " plain words, and nothing else. " * 10_000
    text = f"{noise * 6}{token} {noise * 6}"
    counts: Counter[str] = Counter()
    assert redact(text, counts) == f"{noise * 6}[REDACTED:github] {noise * 6}"
    assert counts == {"github": 1}
