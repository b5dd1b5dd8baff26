// SPDX-License-Identifier: GPL-3.0-or-later
// What the three protocols share. Contents are kept as they came. Signatures are not checked, and no checksum is computed that the client
// has sent: the store must not be what a bench measures.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type object struct {
	bytes []byte
	// What the bytes are a part of, if it may be used again.
	memory []byte
	// What a read gives back.
	header map[string]string
	// Google's description of it.
	resource []byte
	modified time.Time
	// The map's own, and one for each read under way: at 0 the memory is used again.
	holders atomic.Int32
}

type store struct {
	mutex   sync.Mutex
	objects map[string]*object
	uploads map[string]map[string][]byte
	free    map[int][][]byte
	counts  map[string]int
	delay   atomic.Int64
	ids     atomic.Int64
}

func newStore() *store {
	return &store{
		objects: map[string]*object{},
		uploads: map[string]map[string][]byte{},
		free:    map[int][][]byte{},
		counts:  map[string]int{},
	}
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/-/figures" {
		s.answerFigures(w, r)
		return
	}
	body, err := s.readBody(r)
	if err != nil {
		return
	}
	sleep(time.Duration(s.delay.Load()))
	a := &answer{store: s, w: w, r: r, id: fmt.Sprintf("%016X", s.ids.Add(1)), body: body}
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/storage/v1/"), strings.HasPrefix(path, "/upload/"), strings.HasPrefix(path, "/download/"):
		a.google()
	case r.Header.Get("X-Ms-Version") != "":
		a.azure()
	default:
		a.s3()
	}
}

// answerFigures tells what was asked since the last reset. POST resets, and sets the delay of each answer in ms.
func (s *store) answerFigures(w http.ResponseWriter, r *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if r.Method == "POST" {
		delayMs, _ := strconv.ParseFloat(r.URL.Query().Get("delay"), 64)
		s.delay.Store(int64(delayMs * float64(time.Millisecond)))
		s.counts = map[string]int{}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"requests": s.counts, "cpuMs": cpuMs()})
}

// sleep is more exact than time.Sleep, which ends up to 1 ms late.
func sleep(duration time.Duration) {
	end := time.Now().Add(duration)
	for left := duration; left > 0; left = time.Until(end) {
		rest := syscall.NsecToTimespec(int64(left))
		_ = syscall.Nanosleep(&rest, nil)
	}
}

func (s *store) count(kind string) {
	s.mutex.Lock()
	s.counts[kind]++
	s.mutex.Unlock()
}

// readBody takes "aws-chunked" apart, as which SDKs of S3 send contents with a checksum behind.
func (s *store) readBody(r *http.Request) ([]byte, error) {
	if size := r.Header.Get("X-Amz-Decoded-Content-Length"); size != "" {
		length, err := strconv.Atoi(size)
		if err != nil {
			return nil, err
		}
		return s.readChunks(r, length)
	}
	if r.ContentLength < 0 {
		return io.ReadAll(r.Body)
	}
	body := s.take(int(r.ContentLength))
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

func (s *store) readChunks(r *http.Request, length int) ([]byte, error) {
	encoded, err := io.ReadAll(r.Body)
	body := s.take(length)
	filled := 0
	for err == nil {
		line, rest, _ := strings.Cut(string(encoded[:min(len(encoded), 200)]), "\r\n")
		size, failure := strconv.ParseInt(strings.SplitN(line, ";", 2)[0], 16, 64)
		start := len(line) + 2
		if failure != nil || size == 0 || start+int(size)+2 > len(encoded) || rest == "" {
			break
		}
		filled += copy(body[filled:], encoded[start:start+int(size)])
		encoded = encoded[start+int(size)+2:]
	}
	return body[:filled], err
}

// take returns memory of a removed object where there is some: fresh pages cost more than all else here.
func (s *store) take(size int) []byte {
	const page = 4096
	class := (size + page - 1) / page * page
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if list := s.free[class]; len(list) > 0 {
		s.free[class] = list[:len(list)-1]
		return list[len(list)-1][:size]
	}
	return make([]byte, size, class)
}

func (s *store) release(o *object) {
	if o == nil || o.holders.Add(-1) > 0 || o.memory == nil {
		return
	}
	s.mutex.Lock()
	class := cap(o.memory)
	s.free[class] = append(s.free[class], o.memory)
	s.mutex.Unlock()
}

func (s *store) put(key string, o *object) {
	o.modified = time.Now()
	o.holders.Store(1)
	s.mutex.Lock()
	old := s.objects[key]
	s.objects[key] = o
	s.mutex.Unlock()
	s.release(old)
}

// get holds the object: the caller releases it.
func (s *store) get(key string) *object {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	o := s.objects[key]
	if o != nil {
		o.holders.Add(1)
	}
	return o
}

func (s *store) remove(key string) bool {
	s.mutex.Lock()
	o := s.objects[key]
	delete(s.objects, key)
	s.mutex.Unlock()
	s.release(o)
	return o != nil
}

// list returns the keys that begin with a prefix, in order.
func (s *store) list(prefix string) []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	return keys
}

// addPart keeps a part of an upload.
func (s *store) addPart(upload, part string, bytes []byte) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.uploads[upload] == nil {
		s.uploads[upload] = map[string][]byte{}
	}
	s.uploads[upload][part] = bytes
}

// joinParts ends an upload.
func (s *store) joinParts(upload string, parts []string) []byte {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var whole []byte
	for _, part := range parts {
		whole = append(whole, s.uploads[upload][part]...)
	}
	delete(s.uploads, upload)
	return whole
}

// answer is one request and what is said to it.
type answer struct {
	store *store
	w     http.ResponseWriter
	r     *http.Request
	id    string
	body  []byte
}

func (a *answer) set(name, value string) {
	a.w.Header()[name] = []string{value}
}

func (a *answer) say(status int, contentType, text string) {
	if contentType != "" {
		a.set("Content-Type", contentType)
	}
	a.set("Content-Length", strconv.Itoa(len(text)))
	a.w.WriteHeader(status)
	if a.r.Method != "HEAD" {
		_, _ = io.WriteString(a.w, text)
	}
}

// give sends an object or the range of it that a header of the request names.
func (a *answer) give(o *object, rangeHeader string, unsatisfiable func()) {
	size := len(o.bytes)
	start, end, isRange := parseRange(rangeHeader, size)
	if isRange && start >= size {
		a.set("Content-Range", fmt.Sprintf("bytes */%d", size))
		unsatisfiable()
		return
	}
	for name, value := range o.header {
		a.set(name, value)
	}
	a.set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
	a.set("Accept-Ranges", "bytes")
	a.set("Content-Length", strconv.Itoa(end-start))
	status := 200
	if isRange {
		status = 206
		a.set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, size))
	}
	a.w.WriteHeader(status)
	if a.r.Method != "HEAD" {
		_, _ = a.w.Write(o.bytes[start:end])
	}
}

// parseRange reads "bytes=1-2" and "bytes=1-". The whole is meant where there is no such header.
func parseRange(header string, size int) (start, end int, isRange bool) {
	first, last, found := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	if !found {
		return 0, size, false
	}
	start, err := strconv.Atoi(first)
	if err != nil {
		return 0, size, false
	}
	end = size
	if value, err := strconv.Atoi(last); err == nil {
		end = min(value+1, size)
	}
	return start, end, true
}

// metadata are the headers of a request that a read gives back.
func metadata(header http.Header, prefixes ...string) map[string]string {
	kept := map[string]string{}
	for name, values := range header {
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) {
				kept[name] = values[0]
			}
		}
	}
	return kept
}
