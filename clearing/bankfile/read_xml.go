package bankfile

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxDepth bounds how deep elements stand in each other: 15 in the longest
	// documents that banks write, and what a bank adds beside.
	maxDepth = 40

	// maxToken bounds a tag with its attributes, a text, a comment, in bytes: a
	// file of attributes alone would take thirty times its size in memory.
	maxToken = 1 << 20

	// maxUnitNodes bounds the elements of one payment's details: a few hundred
	// where everything is said that the formats can say.
	maxUnitNodes = 2000

	// maxID bounds identifications and codes, maxText what is written for people,
	// in characters: Max35Text and Max140Text of ISO 20022.
	maxID   = 35
	maxText = 140
)

// node is an element with what is in it.
type node struct {
	name, text string
	currency   string // attribute Ccy
	children   []node
}

// at returns the first element of that path, or an empty one.
func (n node) at(path ...string) node {
	for _, name := range path {
		k := slices.IndexFunc(n.children, func(child node) bool { return child.name == name })
		if k < 0 {
			return node{}
		}
		n = n.children[k]
	}
	return n
}

// has reports whether there is a child of that name.
func (n node) has(name string) bool { return n.at(name).name != "" }

// code returns a code that is written as Cd or, as the bank's own, as Prtry, or
// directly as older versions do.
func (n node) code(path ...string) (string, error) {
	n = n.at(path...)
	for _, choice := range []string{"Cd", "Prtry"} {
		if n.has(choice) {
			return n.id(choice)
		}
	}
	return visible(n.text), checkLength(n.name, n.text, maxID)
}

// id returns an identification.
func (n node) id(path ...string) (string, error) {
	n = n.at(path...)
	return visible(n.text), checkLength(n.name, n.text, maxID)
}

func checkLength(name, text string, longest int) error {
	if count := utf8.RuneCountInString(text); count > longest {
		return fmt.Errorf("%s has %d characters: want at most %d", name, count, longest)
	}
	return nil
}

// visible replaces what cannot be seen: others may have chosen the text, and it
// is shown to people on terminals.
func visible(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, text)
}

// forPeople returns at most maxText characters of a text.
func forPeople(text string) string {
	text = visible(strings.Join(strings.Fields(text), " "))
	if runes := []rune(text); len(runes) > maxText {
		return string(runes[:maxText])
	}
	return text
}

// containers are the elements that scan goes into; every other one is read as a
// whole.
var containers = map[string]bool{
	"Document":       true,
	"CstmrPmtStsRpt": true, "OrgnlPmtInfAndSts": true,
	"BkToCstmrStmt": true, "BkToCstmrDbtCdtNtfctn": true, "Stmt": true, "Ntfctn": true, "Ntry": true, "NtryDtls": true,
}

// pieces gives a document to a decoder byte by byte, and fails where it asks for
// more than maxToken of them at once.
type pieces struct {
	file     []byte
	at, from int
}

var errToken = fmt.Errorf("a tag or a text has more than %d bytes", maxToken)

// ReadByte is io.ByteReader, which a decoder reads ahead of nothing.
func (p *pieces) ReadByte() (byte, error) {
	switch {
	case p.at == len(p.file):
		return 0, io.EOF
	case p.at-p.from >= maxToken:
		return 0, errToken
	}
	p.at++
	return p.file[p.at-1], nil
}

// Read is there for the decoder's parameter alone.
func (p *pieces) Read(to []byte) (int, error) {
	if len(to) == 0 {
		return 0, nil
	}
	next, err := p.ReadByte()
	if err != nil {
		return 0, err
	}
	to[0] = next
	return 1, nil
}

// scanner goes through a document once.
type scanner struct {
	pieces    *pieces
	decoder   *xml.Decoder
	namespace string
	path      []string
	reader    *reader
}

// scan gives a document to the reader piece by piece, so that no more of it is in
// memory than what is kept.
func scan(file []byte, r *reader) error {
	file = bytes.TrimPrefix(file, []byte("\ufeff"))
	p := &pieces{file: file}
	s := &scanner{pieces: p, decoder: xml.NewDecoder(p), reader: r}
	for {
		token, err := s.token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.StartElement:
			err = s.start(token)
		case xml.EndElement:
			s.path = s.path[:len(s.path)-1]
			err = r.end(token.Name.Local)
		}
		if err != nil {
			return s.where(err)
		}
	}
	if s.namespace == "" {
		return errors.New("there is no XML in the file: want a pain.002, camt.053 or camt.054 document in XML")
	}
	return nil
}

// token returns the next token that means something.
func (s *scanner) token() (xml.Token, error) {
	s.pieces.from = s.pieces.at
	token, err := s.decoder.Token()
	if errors.Is(err, errToken) {
		return nil, s.where(errToken)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, s.where(fmt.Errorf("this is no XML as banks write it: %w", err))
	}
	if _, isDirective := token.(xml.Directive); isDirective {
		return nil, s.where(errors.New("the file declares a document type, which no bank's file has"))
	}
	return token, err
}

func (s *scanner) where(err error) error {
	line, _ := s.decoder.InputPos()
	return fmt.Errorf("line %d: %w", line, err)
}

// start goes into an element, or reads it as a whole.
func (s *scanner) start(start xml.StartElement) error {
	if len(s.path) == 0 {
		if err := s.startDocument(start); err != nil {
			return err
		}
	}
	if start.Name.Space != s.namespace {
		return s.skip()
	}
	if !containers[start.Name.Local] {
		read := 0
		n, err := s.read(start, len(s.path)+1, &read)
		if err != nil {
			return err
		}
		return s.reader.unit(s.path[len(s.path)-1], n)
	}
	if len(s.path) >= maxDepth {
		return fmt.Errorf("elements stand more than %d deep in each other", maxDepth)
	}
	s.path = append(s.path, start.Name.Local)
	return s.reader.begin(start.Name.Local)
}

const namespacePrefix = "urn:iso:std:iso:20022:tech:xsd:"

// startDocument looks at the first element: its namespace is kind and version.
func (s *scanner) startDocument(start xml.StartElement) error {
	if s.namespace != "" {
		return errors.New("the file has a second document after the first")
	}
	s.namespace = start.Name.Space
	format, _ := strings.CutPrefix(start.Name.Space, namespacePrefix)
	for kind, known := range versions {
		if version, found := strings.CutPrefix(format, kind+"."); found && slices.Contains(known, version) && start.Name.Local == "Document" {
			s.reader.document.Kind, s.reader.document.Version = kind, version
			return nil
		}
	}
	return fmt.Errorf("the file is a %.80q of namespace %.120q: want a Document of pain.002 (001.03, 001.10 or 001.11), camt.053 or camt.054 (001.02 or 001.08)",
		start.Name.Local, start.Name.Space)
}

// read returns an element with everything in it.
func (s *scanner) read(start xml.StartElement, depth int, read *int) (n node, err error) {
	if depth > maxDepth {
		return n, fmt.Errorf("elements stand more than %d deep in each other", maxDepth)
	}
	if *read++; *read > maxUnitNodes {
		return n, fmt.Errorf("one part of the file has more than %d elements", maxUnitNodes)
	}
	n.name = start.Name.Local
	for _, attribute := range start.Attr {
		if attribute.Name.Local == "Ccy" && attribute.Name.Space == "" {
			n.currency = attribute.Value
		}
	}
	var text []byte
	for {
		token, err := s.token()
		if err != nil {
			return n, err
		}
		switch token := token.(type) {
		case xml.CharData:
			text = append(text, token...)
		case xml.EndElement:
			n.text = strings.TrimSpace(string(text))
			return n, nil
		case xml.StartElement:
			if token.Name.Space != s.namespace {
				if err := s.skip(); err != nil {
					return n, err
				}
				continue
			}
			child, err := s.read(token, depth+1, read)
			if err != nil {
				return n, err
			}
			n.children = append(n.children, child)
		}
	}
}

// skip passes over the rest of an element.
func (s *scanner) skip() error {
	for depth := 1; depth > 0; {
		token, err := s.token()
		if err != nil {
			return err
		}
		switch token.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return fmt.Errorf("elements stand more than %d deep in each other", maxDepth)
			}
		case xml.EndElement:
			depth--
		}
	}
	return nil
}
