api() { curl -sS -H "Authorization: Bearer $ORKESTR_API_KEY" -H "Content-Type: application/json" "$@"; }
base=$ORKESTR_BASE_URL/v1/sandboxes
id=$(api "$base" -d '{"template": "debian-12"}' | grep -o 'sbx_[0-9A-Z]*' | head -n 1)

# One JSON object a line, as the output is written; `data` is base64.
api -N "$base/$id/exec" -d '{"command": "for i in 1 2 3; do echo $i; sleep 0.2; done", "stream": true}'
api -X DELETE "$base/$id"
