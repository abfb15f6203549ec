"""Alarms: rules of what is to be told, and a webhook that is told of it."""
