#!/bin/sh
# Answers hello; a process an event.
printf hello
