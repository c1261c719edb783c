#!/bin/sh
# Greets whom the body names: nuclio exec hello -b Ada
name=$(cat)
echo "Hello, ${name:-world}!"
