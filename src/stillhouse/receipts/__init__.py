"""What a run leaves as proof: statements, hashes, and their verification (SPEC P3).

A receipt is an in-toto Statement v1 (https://in-toto.io/Statement/v1) with the SLSA
provenance v1 predicate (https://slsa.dev/provenance/v1), one a stage and run:

    subject                    the files written: digest; annotations bytes, rows, blocks
    …resolvedDependencies      the files read, likewise: of each its first ``bytes`` bytes
    …externalParameters        stage, recorded_at, options
    …internalParameters        sequence: of two receipts the higher one is the newer word
    …byproducts "run"          its digest is the run_hash; counts and files that are gone
                               are its annotations
    …byproducts "receipt"      its digest is the seal

The ``run_hash`` covers what is deterministic in a run (`compute_run_hash`). The seal is
the SHA-256 of the receipt's own bytes with the seal's digits as zeros: it shows damage,
not forgery, for which there are signatures. ``blocks`` tells where a file first parts.

Signatures are DSSE envelopes in files beside the receipts (`stillhouse.receipts.signatures`).
This package writes those and key files, nothing else, and never reads a clock or the
environment. `stillhouse.receipts.keys`, which knows this machine, is not imported here.
"""

from stillhouse.receipts.codec import (
    RECEIPTS,
    Counts,
    build_receipt,
    compute_run_hash,
    decode_receipt,
    encode_receipt,
    is_sound,
    last_sequence,
    list_receipts,
    receipt_path,
)
from stillhouse.receipts.findings import Finding, VerifyReport
from stillhouse.receipts.hashing import BlockHasher, FileDigest, hash_prefix
from stillhouse.receipts.signatures import signature_path
from stillhouse.receipts.signing import SignReport, sign_lake
from stillhouse.receipts.statement import Receipt
from stillhouse.receipts.verify import (
    Claim,
    check_claim,
    claimed_files,
    newest_claim,
    verify_lake,
)

__all__ = [
    "RECEIPTS",
    "BlockHasher",
    "Claim",
    "Counts",
    "FileDigest",
    "Finding",
    "Receipt",
    "SignReport",
    "VerifyReport",
    "build_receipt",
    "check_claim",
    "claimed_files",
    "compute_run_hash",
    "decode_receipt",
    "encode_receipt",
    "hash_prefix",
    "is_sound",
    "last_sequence",
    "list_receipts",
    "newest_claim",
    "receipt_path",
    "sign_lake",
    "signature_path",
    "verify_lake",
]
