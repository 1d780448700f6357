"""What the redactor looks for: tables of formats, each with its source.

Tokens that carry their issuer's mark (`ISSUED`), shapes that need code of their own
(`SHAPED`) and secrets that only their name gives away (`NAMED`). The patterns are our own,
written from the documentation that each row names. Nothing here looks at a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple


class Kind(NamedTuple):
    """One kind of secret: its pattern, what it is, and whose documentation gives the format."""

    pattern: str
    about: str
    source: str


# kind, marks it starts with, what follows, what it is, where the format is documented.
# In the third column @ is a letter or digit, & also "_" and "-", ~ a lower-case hex digit,
# and a closing ! says that no letter or digit follows (!& neither of them, no "_" and no "-"),
# unless another token does. An unbounded repeat is the last part, so that a failed attempt costs
# a bounded number of steps.
# fmt: off
ISSUED: Final[tuple[tuple[str, str, str, str, str], ...]] = (
    ("openai", "sk-proj- sk-svcacct- sk-admin- sk-service- sk-None-", r"&{20,}",
     "OpenAI project, service or admin key", "OpenAI: API keys"),
    ("openai", "sk-", r"(?:@{20}T3BlbkFJ@{20}|@{48})!", "OpenAI user key", "OpenAI: API keys"),
    ("anthropic", "sk-ant-", r"[a-z]{2,10}[0-9]{2}-&{20,}",
     "Anthropic API, admin or OAuth key", "Anthropic: API keys"),
    ("openrouter", "sk-or-v1-", r"~{32,}", "OpenRouter API key", "OpenRouter: authentication"),
    ("langfuse", "sk-lf- pk-lf-", r"~{8}-~{4}-~{4}-~{4}-~{12}",
     "Langfuse API key pair", "Langfuse: API keys"),
    ("deepseek", "sk-", r"~{32}!", "DeepSeek API key", "DeepSeek: API keys"),
    ("sk-key", "sk-", r"@{20,}",
     "Key of a service that speaks the OpenAI API", "vLLM, LiteLLM, Moonshot: API keys"),
    ("google-api-key", "AIza", r"&{35}", "Google API key", "Google Cloud: API keys"),
    ("google-api-key", "AQ.Ab", r"&{30,}",
     "Google auth key (Gemini)", "Google AI: Using Gemini API keys"),
    ("google-oauth", "GOCSPX-", r"&{20,}", "Google OAuth client secret", "Google: OAuth 2.0"),
    ("google-oauth", "ya29.", r"[A-Za-z0-9_.-]{20,}",
     "Google OAuth access token", "Google: OAuth 2.0"),
    ("google-oauth", "1//0", r"&{30,}", "Google OAuth refresh token", "Google: OAuth 2.0"),
    ("huggingface", "hf_ api_org_", r"@{30,}",
     "Hugging Face user or organisation token", "Hugging Face: User access tokens"),
    ("groq", "gsk_", r"@{40,}", "Groq API key", "Groq: API keys"),
    ("xai", "xai-", r"@{60,}", "xAI API key", "xAI: API keys"),
    ("perplexity", "pplx-", r"@{40,}", "Perplexity API key", "Perplexity: API keys"),
    ("replicate", "r8_", r"@{30,}", "Replicate API token", "Replicate: API tokens"),
    ("fireworks", "fw_", r"@{22,}", "Fireworks AI key", "Fireworks AI: API keys"),
    ("together", "tgp_v1_", r"&{40,}", "Together AI key", "Together AI: API keys"),
    ("cerebras", "csk-", r"@{40,}", "Cerebras API key", "Cerebras: API keys"),
    ("nvidia", "nvapi-", r"&{40,}", "NVIDIA API key", "NVIDIA NGC: API keys"),
    ("langsmith", "lsv2_pt_ lsv2_sk_", r"~{32}_~{10}",
     "LangSmith personal or service key", "LangSmith: API keys"),
    ("wandb", "wandb_v1_", r"&{40,}", "Weights & Biases API key", "Weights & Biases: API keys"),
    ("pinecone", "pcsk_", r"&{40,}", "Pinecone API key", "Pinecone: API keys"),
    ("voyage", "pa-", r"&{43}!&", "Voyage AI key", "Voyage AI: API keys"),
    ("jina", "jina_", r"@{40,}", "Jina AI key", "Jina AI: API keys"),
    ("firecrawl", "fc-", r"~{32}!", "Firecrawl API key", "Firecrawl: API keys"),
    ("tavily", "tvly-", r"&{20,}", "Tavily API key", "Tavily: API keys"),
    ("elevenlabs", "sk_", r"~{48}!", "ElevenLabs API key", "ElevenLabs: API keys"),
    ("aws-key-id", "AKIA ASIA ABIA ACCA", r"[A-Z2-7]{16}!",
     "AWS access key id", "AWS IAM: unique identifiers"),
    ("aws-bedrock", "ABSK", r"[A-Za-z0-9+/]{80,}={0,2}",
     "Amazon Bedrock API key", "AWS: Amazon Bedrock API keys"),
    ("aws-bedrock", "bedrock-api-key-", r"[A-Za-z0-9+/]{40,}={0,2}",
     "Amazon Bedrock short-term key", "AWS: Amazon Bedrock API keys"),
    ("azure-storage-key", "AccountKey=", r"([A-Za-z0-9+/]{86}==)",
     "Azure storage account key", "Azure Storage: connection strings"),
    ("azure-shared-key", "SharedAccessKey=", r"([A-Za-z0-9+/]{43}=)",
     "Azure Service Bus, Event Hubs or IoT key", "Azure: SAS connection strings"),
    ("azure-sas", "sig=", r"([A-Za-z0-9%+/]{40,}={0,2})",
     "Azure shared access signature", "Azure Storage: SAS"),
    ("cloudflare", "cfk_ cfut_ cfat_", r"@{40,}",
     "Cloudflare API credential", "Cloudflare: Token formats"),
    ("digitalocean", "dop_v1_ doo_v1_ dor_v1_", r"~{64}",
     "DigitalOcean token", "DigitalOcean: API tokens"),
    ("github", "ghp_ gho_ ghu_ ghr_", r"@{36,}", "GitHub token", "GitHub: token formats"),
    ("github", "ghs_", r"@{36,}", "GitHub installation token", "GitHub: token formats"),
    ("github", "ghs_", r"[0-9]{1,12}_eyJ[A-Za-z0-9_.-]{36,}",
     "GitHub stateless installation token", "GitHub: token formats"),
    ("github", "github_pat_", r"@{22}_@{59}", "GitHub fine-grained token", "GitHub: token formats"),
    ("gitlab", "glpat- gldt- glrt- glrtr- glptt- glft- "
     "glimt- glagent- glcbt- gloas- glsoat- glffct- glwt-", r"[A-Za-z0-9_.-]{20,}",
     "GitLab token", "GitLab: token prefixes"),
    ("gitlab", "GR1348941", r"&{20}", "GitLab runner registration token", "GitLab: token prefixes"),
    ("atlassian", "ATATT3 ATCTT3", r"[A-Za-z0-9_=-]{50,}",
     "Atlassian API token", "Atlassian: API tokens"),
    ("bitbucket", "ATBB", r"@{24,}", "Bitbucket app password", "Bitbucket: app passwords"),
    ("slack", "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xoxe.xoxb- xoxe.xoxp-", r"&{20,}",
     "Slack token", "Slack: token types"),
    ("slack", "xapp-", r"[0-9]-&{20,}", "Slack app-level token", "Slack: token types"),
    ("slack-webhook", "slack.com/services/ "
     "slack.com/workflows/ slack.com/triggers/", r"([A-Za-z0-9_/]{20,})",
     "Slack webhook", "Slack: incoming webhooks"),
    ("discord-webhook", "discord.com/api/webhooks/ "
     "discordapp.com/api/webhooks/", r"[0-9]{15,22}/(&{40,})",
     "Discord webhook", "Discord: webhook resource"),
    ("stripe", "sk_live_ sk_test_ rk_live_ rk_test_", r"@{16,}",
     "Stripe secret or restricted key", "Stripe: API keys"),
    ("stripe", "whsec_", r"[A-Za-z0-9+/]{24,}={0,2}", "Stripe webhook secret", "Stripe: webhooks"),
    ("twilio", "SK", r"~{32}!", "Twilio API key", "Twilio: API keys"),
    ("sendgrid", "SG.", r"&{16,32}\.&{16,64}", "SendGrid API key", "SendGrid: API keys"),
    ("mailgun", "key-", r"~{32}!", "Mailgun API key", "Mailgun: API keys"),
    ("npm", "npm_", r"@{36,}", "npm access token", "npm: access tokens"),
    ("pypi", "pypi-AgE", r"&{50,}", "PyPI API token", "PyPI: API tokens"),
    ("rubygems", "rubygems_", r"~{48}", "RubyGems API key", "RubyGems: API keys"),
    ("docker", "dckr_pat_ dckr_oat_", r"&{24,}",
     "Docker Hub access token", "Docker: access tokens"),
    ("vercel", "vcp_ vci_ vca_ vcr_ vck_", r"&{24,}", "Vercel token", "Vercel: token formats"),
    ("netlify", "nfp_ nfc_ nfo_ nfu_ nfb_", r"@{30,}", "Netlify token", "Netlify: API tokens"),
    ("supabase", "sbp_", r"(?:v0_)?~{40}", "Supabase access token", "Supabase: access tokens"),
    ("supabase", "sb_secret_", r"&{20,}", "Supabase secret key", "Supabase: API keys"),
    ("fly", "fm2_ fo1_", r"[A-Za-z0-9+/_-]{40,}={0,2}", "Fly.io token", "Fly.io: access tokens"),
    ("heroku", "HRKU-", r"&{36,}", "Heroku API token", "Heroku: OAuth"),
    ("databricks", "dapi", r"~{32}(?:-[0-9])?!",
     "Databricks access token", "Databricks: personal access tokens"),
    ("doppler", "dp.pt. dp.st. dp.sa. dp.ct. dp.scim. dp.audit.", r"(?:[a-z0-9_-]{2,35}\.)?@{40,}",
     "Doppler token", "Doppler: token formats"),
    ("vault", "hvs. hvb. hvr.", r"&{24,}", "HashiCorp Vault token", "HashiCorp Vault: tokens"),
    ("terraform", "atlasv1.", r"&{60,}",
     "Terraform Cloud token", "HashiCorp Terraform: API tokens"),
    ("pulumi", "pul-", r"~{40}", "Pulumi access token", "Pulumi: access tokens"),
    ("planetscale", "pscale_tkn_ pscale_pw_ pscale_oauth_", r"[A-Za-z0-9_.=-]{32,}",
     "PlanetScale credential", "PlanetScale: service tokens"),
    ("shopify", "shpat_ shpca_ shppa_ shpss_", r"[A-Fa-f0-9]{32}",
     "Shopify token or secret", "Shopify: authentication"),
    ("square", "EAAA", r"&{60}", "Square access token", "Square: access tokens"),
    ("square", "sq0atp- sq0csp-", r"&{22,}", "Square token or secret", "Square: access tokens"),
    ("linear", "lin_api_ lin_oauth_", r"@{32,}", "Linear API key", "Linear: API"),
    ("notion", "ntn_", r"@{40,}", "Notion token", "Notion: authorization"),
    ("notion", "secret_", r"@{43}!", "Notion token (older)", "Notion: authorization"),
    ("figma", "figd_ figo_", r"&{36,}", "Figma token", "Figma: personal access tokens"),
    ("sentry", "sntrys_", r"[A-Za-z0-9+/=_-]{50,}",
     "Sentry organisation token", "Sentry: token formats"),
    ("sentry", "sntryu_ sntrya_ sntryi_", r"~{64}", "Sentry token", "Sentry: token formats"),
    ("grafana", "glsa_", r"@{32}_[A-Fa-f0-9]{8}",
     "Grafana service account token", "Grafana: service accounts"),
    ("grafana", "glc_", r"[A-Za-z0-9+/]{32,}={0,2}",
     "Grafana Cloud token", "Grafana Cloud: access policies"),
    ("newrelic", "NRAK-", r"[A-Z0-9]{27}", "New Relic user key", "New Relic: API keys"),
    ("dynatrace", "dt0c01. dt0s01.", r"[A-Z2-7]{24}\.[A-Z2-7]{64}",
     "Dynatrace token", "Dynatrace: access tokens"),
    ("postman", "PMAK-", r"~{24}-~{34}", "Postman API key", "Postman: API keys"),
    ("tailscale", "tskey-", r"[a-z]{3,10}-@{8,24}(?:CNTRL)?-@{20,}",
     "Tailscale key", "Tailscale: keys"),
    ("onepassword", "ops_eyJ", r"&{100,}={0,2}",
     "1Password service account token", "1Password: service accounts"),
    ("age", "AGE-SECRET-KEY-1", r"[02-9AC-HJ-NP-Z]{58}", "age secret key", "age: the age format"),
    ("jwt", "eyJ", r"(?<![_-]eyJ)&{13,8192}+\.eyJ&{10,65536}+\.&{10,}",
     "JSON Web Token, signed", "RFC 7519"),
)

# kind, what its name says, what the value looks like, what it is, where it is documented.
NAMED: Final[tuple[tuple[str, str, str, str, str], ...]] = (
    ("aws-secret-key", "aws|secret_?access_?key", r"[A-Za-z0-9+/]{40}",
     "AWS secret access key, by its name or beside a key id", "AWS IAM: access keys"),
    ("azure", "azure|subscription", r"@{32,}", "Azure service key", "Azure: AI services keys"),
    ("cohere", "cohere|co_api", r"@{40}", "Cohere API key", "Cohere: API keys"),
    ("mistral", "mistral", r"@{32}", "Mistral API key", "Mistral AI: API keys"),
    ("wandb", "wandb", r"~{40}", "Weights & Biases API key (older)",
     "Weights & Biases: API keys"),
    ("twilio", "twilio", r"~{32}", "Twilio auth token", "Twilio: auth tokens"),
    ("cloudflare", "cloudflare|cf_", r"&{37,45}", "Cloudflare key (older)",
     "Cloudflare: API tokens"),
    ("datadog", "datadog|dd_", r"(?:~{32}|~{40})", "Datadog API or application key",
     "Datadog: API keys"),
    ("vercel", "vercel", r"@{24}", "Vercel token (older)", "Vercel: token formats"),
    ("password", "pass|pwd", r"\S{16,}", "Password in a named field", "no vendor: by its name"),
    ("secret", "", r"\S{16,}", "Any other secret in a named field", "no vendor: by its name"),
)

# kind, pattern, what it is, where it is documented.
SHAPED: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("private-key", r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----|"
     r"PuTTY-User-Key-File-[23]:.{0,600}?Private-Lines: [0-9]+",
     "Private key block: PEM, OpenSSH, PGP, PuTTY", "RFC 7468, RFC 9580, PuTTY: PPK format"),
    ("url-password", r":(?://|\\++/\\++/)(?!\[)[^\x00-\x20/:\"'`<>\\]{0,128}:"
     r"([^\x00-\x20/\"`\\]{1,256}|(?:[^\x00-\x20@\"`\\]|\\++/){1,256})"
     r"@(?!sha256:)[A-Za-z0-9\[_%$-]",
     "Password in a URL, or a token in its user's place; the rest stays",
     "RFC 3986, section 3.2.1"),
    ("bearer-token", r"(?:bearer|token|apikey)\s+[A-Za-z0-9._~+/-]{16,}=*",
     "Bearer or token credential", "RFC 6750"),
    ("basic-auth", r"basic\s+[A-Za-z0-9+/]{12,}={0,2}", "Basic credential", "RFC 7617"),
    ("discord-token", r"(?:[MNO][DTjz][AEIMQUYcgk][w-z0-5]){5,6}@{0,3}\.&{6}\.&{27,45}",
     "Discord bot token", "Discord: authentication"),
    ("telegram", r"(?<=[0-9]{8}:)&{35}(?!&{1})", "Telegram bot token", "Telegram: Bot API"),
    ("azure-client-secret", r"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}",
     "Microsoft Entra client secret", "Microsoft Entra: app credentials"),
    ("azure-devops", r"@{76}AZDO@{4}", "Azure DevOps personal access token",
     "Azure DevOps: personal access tokens"),
)
# fmt: on


_SHORT: Final = (("@{", "[A-Za-z0-9]{"), ("&{", "[A-Za-z0-9_-]{"), ("~{", "[0-9a-f]{"))


def expand(short: str, glued: str = "") -> str:
    """The tables' shorthand as a regular expression; ``glued`` may follow where nothing may."""
    for sign, meant in _SHORT:
        short = short.replace(sign, meant)
    body, end, signs = short.rpartition("!")
    if not end or signs not in ("", "&"):
        return short
    stop = f"(?![A-Za-z0-9{'_-' if signs else ''}])"
    return f"{body}(?:{stop}|(?={glued}))" if glued else body + stop


def _kinds() -> dict[str, Kind]:
    rows = [
        (kind, f"(?:{'|'.join(map(re.escape, marks.split()))}){expand(body)}", about, source)
        for kind, marks, body, about, source in ISSUED
    ]
    rows += [(kind, expand(pattern), about, source) for kind, pattern, about, source in SHAPED]
    rows += [
        (kind, f"(?:{name})[^=]*={expand(value)}", about, source)
        for kind, name, value, about, source in NAMED
    ]
    kinds: dict[str, Kind] = {}
    for kind, pattern, about, source in rows:
        known = kinds.get(kind)
        kinds[kind] = (
            known._replace(pattern=f"{known.pattern}|{pattern}")
            if known
            else Kind(pattern, about, source)
        )
    return kinds


KINDS: Final[Mapping[str, Kind]] = _kinds()
"""Every kind that a count or a ``[REDACTED:kind]`` can name, in the order of the tables."""
