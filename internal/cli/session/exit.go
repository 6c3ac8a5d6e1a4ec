package session

// ExitError is an error that decides the exit code. With no Err there is nothing to
// print: who failed has said so.
type ExitError struct {
	Code int
	Err  error
}

// The exit codes, as the help topic exit-codes explains them.
const (
	CodeOK          = 0
	CodeError       = 1
	CodeUsage       = 2
	CodeVMFailed    = 3
	CodeNotFound    = 4
	CodeDenied      = 5
	CodeRefused     = 6
	CodeUnavailable = 7
	CodeInterrupted = 130
)

// Error returns what went wrong, "" when that was said already.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }
