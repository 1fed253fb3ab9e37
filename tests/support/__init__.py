"""What several folders of tests share; the sandbox and other programs are in tests/programs."""
