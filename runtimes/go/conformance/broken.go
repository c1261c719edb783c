// Code that cannot be a function, for the conformance kit.
package main

func Handler( {
