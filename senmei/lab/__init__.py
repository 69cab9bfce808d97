"""The paper-phantom laboratory: sheets to print, activity to plan, and scans of them registered back."""
