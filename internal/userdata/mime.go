package userdata

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
)

// mostParts is how many parts a message may have.
const mostParts = 32

// isMIME reports whether text begins with the headers by which cloud-init knows a
// MIME message.
func isMIME(text string) bool {
	m, err := mail.ReadMessage(strings.NewReader(message(text)))
	return err == nil && m.Header.Get("Mime-Version") != "" && m.Header.Get("Content-Type") != ""
}

// message returns text without the line before the headers that some tools write,
// as in a mailbox.
func message(text string) string {
	if first, rest, more := strings.Cut(text, "\n"); more && strings.HasPrefix(first, "From ") {
		return rest
	}
	return text
}

// checkMIME refuses a message that is no multipart message of known parts.
func checkMIME(text string) error {
	m, err := mail.ReadMessage(strings.NewReader(message(text)))
	if err != nil {
		return problemf("has MIME headers that are not well-formed")
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" {
		return problemf("is a MIME message, but no multipart one with a boundary")
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for n := 1; ; n++ {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			if n == 1 {
				return problemf("is a MIME message without a part")
			}
			return nil
		}
		if err != nil {
			return problemf("is a MIME message that is not well-formed or has no end, after part %d", n-1)
		}
		if n > mostParts {
			return problemf("is a MIME message of more than %d parts", mostParts)
		}
		if err := checkMIMEPart(part.Header, part); err != nil {
			return problemf("is a MIME message whose part %d %s", n, err)
		}
	}
}

// partKinds are the types of parts, and what a part of them has to be; "" for
// what its first line says.
var partKinds = map[string]Kind{
	"text/cloud-config":               Config,
	"text/x-shellscript":              Script,
	"text/x-shellscript-per-boot":     Script,
	"text/x-shellscript-per-instance": Script,
	"text/x-shellscript-per-once":     Script,
	"text/plain":                      "",
}

const partTypes = "text/cloud-config, text/x-shellscript, text/x-shellscript-per-boot, -per-instance, -per-once, and text/plain for what begins like one of them"

func checkMIMEPart(header textproto.MIMEHeader, body io.Reader) error {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	want, known := partKinds[kind]
	if err != nil || !known {
		return problemf("has a type that is not understood; these are: " + partTypes)
	}
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "us-ascii":
	default:
		return problemf("is neither UTF-8 nor ASCII")
	}
	switch strings.ToLower(strings.TrimSpace(header.Get("Content-Transfer-Encoding"))) {
	case "", "7bit", "8bit", "binary":
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	default:
		return problemf("has a transfer encoding that is not understood; base64 and quoted-printable are")
	}
	text, err := io.ReadAll(io.LimitReader(body, Most+1))
	if err != nil || len(text) > Most {
		return problemf("can't be decoded or has no end")
	}
	if err := checkCharacters(string(text)); err != nil {
		return err
	}
	found := kindOf(string(text))
	if want != "" && found != want {
		return problemf("does not begin with %s, as its type says", want)
	}
	return checkPart(found, string(text))
}
