api() { curl -sS -H "Authorization: Bearer $ORKESTR_API_KEY" -H "Content-Type: application/json" "$@"; }
base=$ORKESTR_BASE_URL/v1/sandboxes
id=$(api "$base" -d '{"template": "debian-12"}' | grep -o 'sbx_[0-9A-Z]*' | head -n 1)
api "$base/$id/exec" -d '{"command": "echo kept > file"}' >/dev/null
api -X POST "$base/$id/pause" >/dev/null # the meter stops

api -X POST "$base/$id/resume" >/dev/null
api "$base/$id/exec" -d '{"command": "cat file"}'
echo
api -X DELETE "$base/$id"
