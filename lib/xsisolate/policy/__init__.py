"""What an admin may write, and what it means. Pure; knows no switch."""
