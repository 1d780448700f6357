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

This package never writes, and never reads a clock or the environment.
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
from stillhouse.receipts.hashing import BlockHasher, FileDigest, hash_prefix
from stillhouse.receipts.statement import Receipt
from stillhouse.receipts.verify import (
    Claim,
    Finding,
    VerifyReport,
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
    "verify_lake",
]
