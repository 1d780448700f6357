"""Stillhouse turns the logs that LLM agents leave behind into training data.

    raw line → EvidenceRecord → ScoredRun → firewall → SFT · preference · RAG · dataset → receipt

    lake        a folder of plain files: raw logs in, everything else derived
    evidence    one raw log row, normalised and typed
    scored run  the verdict on one evidence record, with its reasons
    firewall    what decides which scored runs may leave, and refuses the rest by name
    quarantine  every refused row, with the reason and where it came from
    receipt     what a stage read, wrote and counted, with hashes

Importing this package does nothing else.
"""

__version__ = "0.1.0"
