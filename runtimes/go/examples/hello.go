// The smallest function: `nuclio run hello.go`, then `curl 'http://127.0.0.1:8080/?name=Ada'`.
package main

import "github.com/nuclio/nuclio-sdk-go"

func Handler(context *nuclio.Context, event nuclio.Event) (interface{}, error) {
	name := event.GetFieldString("name")
	if name == "" {
		name = "world"
	}
	return "Hello, " + name + "!\n", nil
}
