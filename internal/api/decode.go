package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"unicode/utf8"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// maxBody bounds a request's body.
const maxBody = 1 << 20

// decode reads the body into in, a pointer. Clients disagree about much, so it
// is lenient where nothing can be mistaken: no body is an empty object, null is
// an absent member, unknown members are ignored, the Content-Type says nothing.
// Returns a Malformed fault that names the member of the wrong type.
func decode(w http.ResponseWriter, r *http.Request, in any) error {
	if _, ok := in.(*none); ok {
		return nil
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return fault.New(fault.Malformed, "the body is compressed; send plain JSON")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return fault.Newf(tooLarge, "the body is larger than %d bytes", maxBody)
	}
	if err != nil {
		return fault.New(fault.Malformed, "the body ended early")
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return fault.New(fault.Malformed, "the body is not UTF-8")
	}
	if err := json.Unmarshal(body, in); err != nil {
		return malformed(err)
	}
	return nil
}

// malformed says what of the JSON is wrong.
func malformed(err error) error {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return fault.Newf(fault.Malformed, "the body is not JSON: %v", err)
	}
	member := wrong.Field
	if member == "" {
		member = "the body"
	}
	return fault.Newf(fault.Malformed, "%s has to be %s, not %s", member, words(wrong.Type), clip(wrong.Value))
}

func words(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[integer]():
		return "a whole number"
	case reflect.TypeFor[decimal]():
		return "a decimal number in a string"
	}
	switch t.Kind() { //nolint:exhaustive // members are of no other kind
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	default:
		return "an object"
	}
}

// integer is a whole JSON number; 80.0 and 8e1 are ones too.
type integer int64

// UnmarshalJSON reads a number.
func (n *integer) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	if i, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		*n = integer(i)
		return nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return wrongType[integer](text)
	}
	*n = integer(f)
	return nil
}

// decimal is a number as its client wrote it, in a string or bare.
type decimal string

// UnmarshalJSON reads a string or a number.
func (d *decimal) UnmarshalJSON(text []byte) error {
	switch {
	case string(text) == "null":
		return nil
	case text[0] == '"':
		return json.Unmarshal(text, (*string)(d))
	case text[0] == '-' || text[0] >= '0' && text[0] <= '9':
		*d = decimal(text)
		return nil
	}
	return wrongType[decimal](text)
}

// wrongType says that JSON text is no T. Its member's name is added by json.
func wrongType[T any](text []byte) error {
	value := "number " + string(text)
	switch text[0] {
	case '"':
		value = "string"
	case '{':
		value = "object"
	case '[':
		value = "array"
	case 't', 'f':
		value = "bool"
	}
	return &json.UnmarshalTypeError{Value: value, Type: reflect.TypeFor[T]()}
}

// amount reads a member that has to be there and hold an amount of money.
func (d *decimal) amount(member string) (money.Amount, error) {
	if d == nil {
		return 0, missing(member)
	}
	a, err := money.Parse(string(*d))
	if err != nil {
		return 0, fault.Newf(fault.Invalid, "%s: %s", member, fault.Message(err))
	}
	return a, nil
}

// required reads a member that has to be there.
func required[T any](member string, value *T) (T, error) {
	if value == nil {
		var zero T
		return zero, missing(member)
	}
	return *value, nil
}

func missing(member string) error { return fault.Newf(fault.Invalid, "%s is missing", member) }

// atMost returns an Invalid fault for a list that is too long to be meant.
func atMost[T any](member string, list []T, most int) error {
	if len(list) > most {
		return fault.New(fault.Invalid, fmt.Sprintf("%s has %d entries; at most %d are accepted", member, len(list), most))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
