// Package nuclio is what handlers in Go see: the names of nuclio's own SDK, over the standard library
// alone.
package nuclio

import (
	"fmt"
	"time"
)

// Context lives as long as the worker.
type Context struct {
	Logger          Logger
	UserData        interface{}
	WorkerID        int
	FunctionName    string
	FunctionVersion string
	TriggerKind     string
	TriggerName     string
}

// Event is one thing to handle. What it gives may be kept.
type Event interface {
	GetID() ID
	GetTriggerInfo() TriggerInfoProvider
	GetContentType() string
	GetBody() []byte
	GetHeader(key string) interface{}
	GetHeaderByteSlice(key string) []byte
	GetHeaderString(key string) string
	GetHeaderInt(key string) (int, error)
	// GetHeaders gives a text for each name, or a []string where a header is repeated.
	GetHeaders() map[string]interface{}
	GetField(key string) interface{}
	GetFieldByteSlice(key string) []byte
	GetFieldString(key string) string
	GetFieldInt(key string) (int, error)
	GetFields() map[string]interface{}
	GetTimestamp() time.Time
	GetPath() string
	GetURL() string
	GetMethod() string
	GetSize() int
}

// ID of an event.
type ID string

// String is the id as a text.
func (id ID) String() string { return string(id) }

// TriggerInfoProvider says where an event came from.
type TriggerInfoProvider interface {
	GetClass() string
	GetKind() string
	GetName() string
}

// Response is an answer with all that it can say. A []string as a header's value repeats the header.
type Response struct {
	StatusCode  int
	ContentType string
	Headers     map[string]interface{}
	Body        []byte
}

// Logger writes lines to the worker's log.
type Logger interface {
	Error(format interface{}, vars ...interface{})
	Warn(format interface{}, vars ...interface{})
	Info(format interface{}, vars ...interface{})
	Debug(format interface{}, vars ...interface{})
	ErrorWith(format interface{}, vars ...interface{})
	WarnWith(format interface{}, vars ...interface{})
	InfoWith(format interface{}, vars ...interface{})
	DebugWith(format interface{}, vars ...interface{})
}

// WithStatusCode is an error that knows its status.
type WithStatusCode interface {
	StatusCode() int
}

// ErrorWithStatusCode is an error with a status for the client.
type ErrorWithStatusCode struct {
	error
	statusCode int
}

// NewErrorWithStatusCode gives an error a status.
func NewErrorWithStatusCode(err error, statusCode int) *ErrorWithStatusCode {
	return &ErrorWithStatusCode{err, statusCode}
}

// StatusCode is the status for the client.
func (e *ErrorWithStatusCode) StatusCode() int { return e.statusCode }

// Unwrap is the error without its status.
func (e *ErrorWithStatusCode) Unwrap() error { return e.error }

// NewErrBadRequest is an error of the client's.
func NewErrBadRequest(message string) *ErrorWithStatusCode {
	return NewErrorWithStatusCode(fmt.Errorf("%s", message), 400)
}

// NewErrNotFound says that there is no such thing.
func NewErrNotFound(message string) *ErrorWithStatusCode {
	return NewErrorWithStatusCode(fmt.Errorf("%s", message), 404)
}
