"""Bad input: whatever comes from outside the process ends in adopt, submit under the recorded id, or our own error."""
