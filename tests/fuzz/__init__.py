"""Fuzzing: everything that is read from a folder, damaged at random, is read or refused in one line."""
